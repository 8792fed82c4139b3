import pytest

from batch_gateway.ranges import Span, UnsatisfiableError, requested_span, unchanged

ETAG = '"file-1"'


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=5-", 5, 10),
        ("bytes=-3", 7, 10),
        ("bytes=-99", 0, 10),
        ("bytes=2-99", 2, 10),
    ],
)
def test_a_range_is_cut_to_the_file(header: str, start: int, end: int) -> None:
    span = requested_span({"range": header}, 10, ETAG)
    assert span == Span(start, end, 10, partial=True)
    assert span.content_range == f"bytes {start}-{end - 1}/10"


@pytest.mark.parametrize("header", ["", "bytes=-", "bytes=4-2", "lines=0-1", "bytes=0-1,3-4", "x"])
def test_what_is_no_single_range_gives_the_whole_file(header: str) -> None:
    assert requested_span({"range": header}, 10, ETAG) == Span(0, 10, 10, partial=False)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_met(header: str) -> None:
    with pytest.raises(UnsatisfiableError):
        requested_span({"range": header}, 10, ETAG)


def test_an_empty_file_has_no_ranges_but_is_whole() -> None:
    assert requested_span({}, 0, ETAG) == Span(0, 0, 0, partial=False)
    with pytest.raises(UnsatisfiableError):
        requested_span({"range": "bytes=-1"}, 0, ETAG)


def test_if_range_of_other_bytes_gives_the_whole_file() -> None:
    headers = {"range": "bytes=0-0", "if-range": '"file-2"'}
    assert not requested_span(headers, 10, ETAG).partial
    assert requested_span({**headers, "if-range": ETAG}, 10, ETAG).partial


@pytest.mark.parametrize(
    ("header", "same"),
    [(ETAG, True), (f'"x", W/{ETAG}', True), ("*", True), ('"x"', False), ("", False)],
)
def test_if_none_match(header: str, same: bool) -> None:
    assert unchanged({"if-none-match": header}, ETAG) is same
