"""Composed files: a file whose bytes are several objects, one after the other."""

from typing import Final

import msgspec


class Part(msgspec.Struct, frozen=True, array_like=True):
    key: str
    bytes: int


class Content(msgspec.Struct, frozen=True):
    parts: tuple[Part, ...]
    version: int = 1

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


_DECODER: Final = msgspec.json.Decoder(Content)


def encode_content(content: Content) -> bytes:
    return msgspec.json.encode(content)


def decode_content(data: bytes) -> Content:
    return _DECODER.decode(data)
