"""Reading an engine's answer: is it JSON that may stand in a result line, and what did it cost?"""

from typing import Final

import msgspec

from batch_common.formats.usage import Usage


class Checked(msgspec.Struct, frozen=True):
    """A body that is one JSON object on one line.

    id: the answer's own; None when it has none
    usage: None when the engine did not say
    """

    body: msgspec.Raw
    id: str | None
    usage: Usage | None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Chat, completions and embeddings count prompt and completion, responses input and output."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Body(msgspec.Struct):
    id: str | None = None
    usage: _Usage | None = None


_DECODER: Final = msgspec.json.Decoder(_Body)
_ANY_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNKNOWN: Final = _Body()


def check_body(body: bytes) -> Checked | None:
    """None for what would corrupt a result line: HTML of a proxy, cut or mangled JSON."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the strings that it skips
        read = _read(body)
        if b"\n" in body or b"\r" in body:
            body = msgspec.json.format(body, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Checked(msgspec.Raw(body), read.id, _usage(read.usage) if read.usage else None)


def _read(body: bytes) -> _Body:
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError:  # valid JSON, but an id or a usage of another shape
        _ANY_OBJECT.decode(body)
        return _UNKNOWN


def _usage(said: _Usage) -> Usage:
    read, made = said.prompt_tokens_details, said.completion_tokens_details
    read, made = read or said.input_tokens_details, made or said.output_tokens_details
    return Usage(
        said.prompt_tokens or said.input_tokens or 0,
        (read and read.cached_tokens) or 0,
        said.completion_tokens or said.output_tokens or 0,
        (made and made.reasoning_tokens) or 0,
    )
