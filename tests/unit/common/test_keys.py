"""Keys of the blob store."""

from batch_common import keys


def test_segments_sort_by_number_and_are_told_from_the_rest() -> None:
    prefix = keys.chunk_prefix("batch_1", "chunk_1")
    made = [keys.segment(prefix, "att_1", n) for n in (1, 2, 10, 100_000)]
    assert made == sorted(made)
    assert all(key.startswith(prefix) and keys.is_segment(key) for key in made)
    others = (
        keys.chunk_output(prefix, "att_1"),
        keys.chunk_errors(prefix, "att_1"),
        keys.chunk_manifest(prefix, "att_1"),
    )
    assert not any(map(keys.is_segment, others))
    assert [keys.is_manifest(key) for key in others] == [False, False, True]


def test_no_two_kinds_share_a_key() -> None:
    made = [
        keys.file_content("x"),
        keys.upload_part("x", "y"),
        keys.plan_input("x"),
        keys.plan_index("x"),
        keys.chunk_output(keys.chunk_prefix("x", "y"), "z"),
    ]
    assert len(set(made)) == len(made)
    assert all(key.startswith(keys.plan_prefix("x")) for key in made[2:4])
