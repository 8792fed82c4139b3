"""Segments: the results of one attempt at a chunk, saved as they come.

One object is one MessagePack-encoded Segment, bounded by the runner's flush limits.
"""

from typing import Final

import msgspec

from batch_common.formats.usage import Usage


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One result."""

    # Position in the planned input, counted from 0.
    line: int
    # True: belongs in the output file; False: in the error file.
    succeeded: bool
    # The result line as JSON, without its newline.
    data: bytes
    usage: Usage | None = None


class Segment(msgspec.Struct, frozen=True):
    chunk: str
    attempt: str
    records: list[Record]
    version: int = 1


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Segment)


def encode_segment(segment: Segment) -> bytes:
    return _ENCODER.encode(segment)


def decode_segment(data: bytes) -> Segment:
    """Raises msgspec.DecodeError when the object is not a whole segment."""
    return _DECODER.decode(data)
