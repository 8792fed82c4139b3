"""A task schema laid into requests, as each endpoint takes it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from batch_common.task_schema import TaskSchema
from batch_gpu_runner.engines.base import CHAT, RESPONSES

# By each of these a request says for itself what form its answer must have: the API's own, then
# those that vLLM and llama.cpp add. Engines refuse two of them in one request.
_FORMS: Final = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "json_schema",
)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL: Final = b"null"


class ResponseFormat:
    """Made once for a chunk; a request that has a form of its own keeps it."""

    def __init__(self, schema: TaskSchema, endpoint: str) -> None:
        self._text = endpoint == RESPONSES
        self._fits = schema.answer is not None and endpoint in (CHAT, RESPONSES)
        named = {"name": schema.name, "schema": schema.answer, "strict": schema.strict}
        form = (
            {"type": "json_schema", **named}
            if self._text
            else {"type": "json_schema", "json_schema": named}
        )
        self._form = msgspec.Raw(msgspec.json.encode(form))

    def lay_into(self, body: bytes) -> bytes:
        """`body` is the JSON text of an object. Raises msgspec.DecodeError where it is none."""
        if not self._fits:
            return body
        fields = _FIELDS.decode(body)
        if any(_is_given(fields, name) for name in _FORMS):
            return body
        if not self._text:
            return msgspec.json.encode({**fields, "response_format": self._form})
        text = _FIELDS.decode(fields["text"]) if _is_given(fields, "text") else {}
        if _is_given(text, "format"):
            return body
        return msgspec.json.encode({**fields, "text": {**text, "format": self._form}})


def _is_given(fields: Mapping[str, Any], name: str) -> bool:
    """A null says as little as nothing."""
    return name in fields and bytes(fields[name]) != _NULL
