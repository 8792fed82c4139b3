"""The planned input: every line once, and lines that share a beginning side by side."""

import json
import random
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batch_scheduler.prompt import estimate_tokens, prefix_keys
from batch_scheduler.rules import Body

from .examined import line, planned


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content} for content in contents]


def ids(text: bytes) -> list[str]:
    return [json.loads(one)["custom_id"] for one in text.splitlines()]


def test_without_shared_beginnings_the_file_keeps_its_order() -> None:
    lines = [line(f"r{n}", messages=chat(f"{n} apples")) for n in range(50)]
    _, index, text = planned(b"\n".join(lines))
    assert ids(text) == [f"r{n}" for n in range(50)]
    assert index["line"].tolist() == list(range(1, 51))


def test_lines_about_one_document_stand_together() -> None:
    documents = [f"document {n}: " + f"{n} lorem ipsum " * 60 for n in range(5)]
    asked = [(d, q) for d in range(5) for q in range(4)]
    random.Random(1).shuffle(asked)
    for shape in (
        lambda d, q: chat(documents[d], f"question {q}"),
        lambda d, q: chat("be brief", documents[d] + f"question {q}"),
        lambda d, q: chat(documents[d] + f"question {q}"),
    ):
        lines = [line(f"{d}-{q}", messages=shape(d, q)) for d, q in asked]
        _, _, text = planned(b"\n".join(lines))
        order = [one.split("-")[0] for one in ids(text)]
        changes = sum(a != b for a, b in pairwise(order))
        assert changes == 4


def test_models_make_spans_and_blank_lines_and_crs_are_gone() -> None:
    lines = [line("a"), b"", line("b", model="n") + b"\r", line("c"), line("d", model="n")]
    report, index, text = planned(b"\n".join(lines))
    assert ids(text) == ["a", "c", "b", "d"]
    assert index["line"].tolist() == [1, 4, 3, 5]
    spans = [(s.model, s.first_line, s.end_line, s.first_byte) for s in report.spans]
    assert spans == [("m", 0, 2, 0), ("n", 2, 4, report.spans[0].end_byte)]
    assert report.spans[-1].end_byte == len(text)


def test_large_inputs_are_ordered_within_windows() -> None:
    lines = [line(f"{n}", model="mn"[n % 2]) for n in range(40)]
    size = len(lines[0]) + 1
    report, _, text = planned(b"\n".join(lines), window_bytes=10 * size)
    assert len(report.spans) > 4
    for span in report.spans:
        inside = text[span.first_byte : span.end_byte].splitlines()
        assert {json.loads(one)["body"]["model"] for one in inside} == {span.model}
        numbers = [int(json.loads(one)["custom_id"]) for one in inside]
        assert max(numbers) - min(numbers) < 10
    assert sorted(ids(text), key=int) == [f"{n}" for n in range(40)]


_CONTENT = st.sampled_from(["x", "y" * 300, "y" * 300 + "z", "w" * 2000])


@given(
    st.lists(st.tuples(st.sampled_from("mn"), _CONTENT, _CONTENT), min_size=1, max_size=40),
    st.integers(200, 20_000),
)
def test_every_line_is_planned_once_and_the_index_tells_where(
    requests: list[tuple[str, str, str]], window_bytes: int
) -> None:
    lines = [
        line(f"r{n}", model=model, messages=chat(one, other))
        for n, (model, one, other) in enumerate(requests)
    ]
    report, index, text = planned(b"\n".join(lines), window_bytes=window_bytes)
    starts = np.r_[0, np.cumsum(index["length"], dtype=np.int64)]
    assert starts[-1] == len(text)
    pieces = [text[a:b] for a, b in pairwise(starts)]
    assert [lines[n - 1] + b"\n" for n in index["line"]] == pieces
    assert sorted(index["line"].tolist()) == list(range(1, len(lines) + 1))
    assert [s.first_line for s in report.spans[1:]] == [s.end_line for s in report.spans[:-1]]
    assert report.spans[-1].end_line == len(lines)
    assert sum(s.tokens for s in report.spans) == int(index["tokens"].sum())


def test_keys_do_not_depend_on_where_a_message_names_its_role() -> None:
    def keys(first: str, last: str, *, role_first: bool) -> tuple[int, int, int]:
        messages = [{"role": "user", "content": c} for c in (first, last)]
        if not role_first:
            messages = [{"content": m["content"], "role": m["role"]} for m in messages]
        return prefix_keys(json.dumps(messages).encode())

    for role_first in (True, False):
        one = keys("document", "question one", role_first=role_first)
        other = keys("document", "question two", role_first=role_first)
        assert one[0] == other[0]
        assert one[1] != other[1]


def test_tokens_are_those_of_prompt_and_limit() -> None:
    assert estimate_tokens(400, Body(model="m", max_tokens=50)) == 150
    assert estimate_tokens(400, Body(model="m", max_completion_tokens=20, max_tokens=50)) == 120
    assert estimate_tokens(400, Body(model="m", max_tokens="many")) == 356
    assert estimate_tokens(400, Body(model="m", max_tokens=True)) == 356
