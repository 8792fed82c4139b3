"""The parts of RFC 9110 that a file download needs: Range, If-Range, If-None-Match."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Span(msgspec.Struct, frozen=True):
    """Bytes `start` to `end` (exclusive) of `total`; `partial`: answer 206."""

    start: int
    end: int
    total: int
    partial: bool

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end - 1}/{self.total}"


class UnsatisfiableError(Exception):
    """The range begins beyond the end: 416."""


def requested_span(headers: Mapping[str, str], total: int, etag: str) -> Span:
    """What to send. Raises UnsatisfiableError.

    A malformed range, several ranges, or one whose If-Range names other bytes gives the whole
    file, as RFC 9110 allows.
    """
    whole = Span(0, total, total, partial=False)
    match = _RANGE.fullmatch(headers.get("range", "").strip())
    if match is None or headers.get("if-range", etag) != etag:
        return whole
    first, last = match.groups()
    if not first:
        return _suffix(last, total) if last else whole
    start = int(first)
    end = min(int(last) + 1, total) if last else total
    if last and int(last) < start:
        return whole
    if start >= total:
        raise UnsatisfiableError
    return Span(start, end, total, partial=True)


def _suffix(length: str, total: int) -> Span:
    if int(length) == 0 or total == 0:
        raise UnsatisfiableError
    return Span(max(0, total - int(length)), total, total, partial=True)


def unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client has these bytes already: 304."""
    known = headers.get("if-none-match", "")
    return known.strip() == "*" or etag in {
        tag.strip().removeprefix("W/") for tag in known.split(",")
    }
