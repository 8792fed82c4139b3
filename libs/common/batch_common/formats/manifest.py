"""A chunk's manifest: where the final results of every one of its lines stand."""

from typing import Final

import msgspec

from batch_common.formats.usage import Usage


class ObjectRef(msgspec.Struct, frozen=True):
    """A JSON Lines object in the blob store; every line ends in a newline."""

    key: str
    bytes: int
    lines: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    chunk: str
    attempt: str
    # The segments these results were taken from.
    segments: tuple[str, ...]
    output: ObjectRef | None
    errors: ObjectRef | None
    # Requests that got an answer: into the output file, or an error into the error file.
    completed: int
    failed: int
    # Lines that never ran, listed in the error file, as OpenAI counts them: in neither.
    unfinished: int = 0
    usage: Usage = Usage()
    version: int = 1

    @property
    def lines(self) -> int:
        return self.completed + self.failed + self.unfinished


_DECODER: Final = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """Raises msgspec.DecodeError when the object is not a manifest."""
    return _DECODER.decode(data)
