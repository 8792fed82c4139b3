"""JSON Pointers as RFC 6901 has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.json_pointer import pointer, resolve, steps, walk

DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, "c%d": 2, "k": {"l": None}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/foo/-1", "baz"),
        ("/", 0),
        ("/a~1b", 1),
        ("/m~0n", 8),
        ("/c%d", 2),
        ("/k/l", None),
    ],
)
def test_places(text: str, value: object) -> None:
    assert resolve(DOCUMENT, text) == value


@pytest.mark.parametrize(
    "text", ["/bar", "/foo/2", "/foo/x", "/foo/-", "/foo/--1", "/k/l/m", "/foo/0/0"]
)
def test_places_that_are_not_there(text: str) -> None:
    with pytest.raises(LookupError):
        resolve(DOCUMENT, text)


def test_what_is_no_pointer() -> None:
    with pytest.raises(ValueError, match="begin with /"):
        resolve(DOCUMENT, "foo")


@given(st.lists(st.text(max_size=4), max_size=4))
def test_steps_come_back(path: list[str]) -> None:
    assert steps(pointer(path)) == path


def test_a_walk_comes_by_every_place() -> None:
    walked = dict(walk(DOCUMENT))
    assert walked["/k/l"] is None
    assert all(resolve(DOCUMENT, at) == value for at, value in walked.items())
