"""Reading request bodies: what the simulated model is asked, for each endpoint."""

from typing import Annotated

import msgspec

from batch_gpu_runner.engines.base import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES

Limit = Annotated[int, msgspec.Meta(ge=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]

_NO_SCHEMA = msgspec.Raw()


class Asked(msgspec.Struct, frozen=True):
    """A request reduced to what its answer depends on.

    prompts: one text for each answer or vector
    limit: tokens of the answer at most; None when the request sets none
    as_json: whether the answer must be a JSON object
    schema: the JSON Schema that the answer must fit, as JSON; None: any
    dimensions: length of an embedding
    """

    model: str
    prompts: list[str]
    limit: int | None = None
    as_json: bool = False
    schema: bytes | None = None
    dimensions: int = 16


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


class _Named(msgspec.Struct):
    schema: msgspec.Raw = _NO_SCHEMA


class _Format(msgspec.Struct):
    """Of both endpoints: `schema` stands in `json_schema` for chat, beside `type` for responses."""

    type: str = "text"
    json_schema: _Named | None = None
    schema: msgspec.Raw = _NO_SCHEMA


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Sampling(msgspec.Struct):
    model: str
    temperature: Temperature | None = None
    n: Choices | None = None


class _Chat(_Sampling, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    response_format: _Format | None = None


class _Completion(_Sampling, kw_only=True):
    prompt: str | list[str | int | list[int]]
    max_tokens: Limit | None = None


class _Embedding(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None


class _Response(msgspec.Struct):
    model: str
    input: str | list[_Message]
    instructions: str | None = None
    temperature: Temperature | None = None
    max_output_tokens: Limit | None = None
    text: _Text | None = None


_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)
_embedding = msgspec.json.Decoder(_Embedding)
_response = msgspec.json.Decoder(_Response)


def read_chat(body: bytes) -> Asked:
    """Raises msgspec.MsgspecError, as the others here do."""
    asked = _chat.decode(body)
    return Asked(
        asked.model,
        [_conversation(asked.messages)] * (asked.n or 1),
        asked.max_completion_tokens or asked.max_tokens,
        _is_json(asked.response_format),
        _schema(asked.response_format),
    )


def read_completion(body: bytes) -> Asked:
    asked = _completion.decode(body)
    prompts = [prompt for prompt in _texts(asked.prompt) for _ in range(asked.n or 1)]
    return Asked(asked.model, prompts, asked.max_tokens or 16)


def read_embedding(body: bytes) -> Asked:
    asked = _embedding.decode(body)
    return Asked(asked.model, _texts(asked.input), dimensions=asked.dimensions or 16)


def read_response(body: bytes) -> Asked:
    asked = _response.decode(body)
    given = asked.input if isinstance(asked.input, str) else _conversation(asked.input)
    prompt = f"{asked.instructions}\n{given}" if asked.instructions else given
    form = asked.text.format if asked.text else None
    return Asked(asked.model, [prompt], asked.max_output_tokens, _is_json(form), _schema(form))


READERS = {
    CHAT: read_chat,
    COMPLETIONS: read_completion,
    EMBEDDINGS: read_embedding,
    RESPONSES: read_response,
}


def _is_json(form: _Format | None) -> bool:
    return form is not None and form.type != "text"


def _schema(form: _Format | None) -> bytes | None:
    if form is None or form.type != "json_schema":
        return None
    found = form.json_schema.schema if form.json_schema else form.schema
    return bytes(found) or None


def _conversation(messages: list[_Message]) -> str:
    return "\n".join([_content(message.content) for message in messages])


def _content(content: str | list[_Part] | None) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content)
    return content or ""


def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    """One text per prompt; token ids stand for themselves, and a flat list of them is one."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(item, int) for item in given):
        return [" ".join(map(str, given))]
    return [item if isinstance(item, str) else str(item) for item in given]
