"""The look at an upload's first line, however the bytes are cut into pieces."""

import pytest

from batch_gateway.first_line import FirstLine


def acceptable(data: bytes, size: int) -> bool:
    first_line = FirstLine()
    for start in range(0, len(data), size):
        first_line.feed(data[start : start + size])
    return first_line.acceptable()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "good"),
    [
        (b'{"custom_id": "a"}\nnot json\n', True),
        (b'{"custom_id": "a"}', True),
        (b'{"custom_id": "a"}\r\n{}', True),
        (b'\xef\xbb\xbf{"custom_id": "a"}\n', True),
        (b'\n\n  \n{"custom_id": "a"}\n', True),
        ('{"a": "one\u2028line"}\n'.encode(), True),
        (b"\xef\xbb\xbf", True),
        (b"\n\r\n  \n", True),  # blank lines alone: the scheduler's validation fails them
        (b'{"a": "' + b"x" * 200_000 + b'"}\n', True),
        (b"x" * 200_000, False),
        (b"", False),
        (b"not json\n{}\n", False),
        (b"[1]\n", False),
        (b'{"a": 1\n', False),
        (b"[" * 100_000, False),
    ],
)
def test_the_first_line(data: bytes, good: bool, size: int) -> None:
    assert acceptable(data, size) is good


def test_deep_nesting_is_malformed_not_a_crash() -> None:
    assert not acceptable(b'{"a":' + b"[" * 50_000 + b"]" * 10_000 + b"}\n", 1 << 20)
