"""The rules of one input line, as OpenAI's Batch API applies them.

`RequestReader` takes the lines that keep them all; `explain` says what is wrong with another.
"""

from typing import Any, Final

import msgspec

from batch_scheduler.problems import Problem, missing, not_json, shown, wrong_type

# What the body of each endpoint cannot do without.
_REQUIRED: Final = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/responses": "input",
    "/v1/moderations": "input",
    "/v1/images/generations": "prompt",
    "/v1/images/edits": "prompt",
    "/v1/videos": "prompt",
}
_SPOKEN: Final = {
    "/v1/chat/completions": "Chat Completions",
    "/v1/completions": "Completions",
    "/v1/embeddings": "Embeddings",
    "/v1/responses": "Responses",
    "/v1/moderations": "Moderations",
}
# A prompt stands in one of these; msgspec skips what else is in a body.
_EMPTY: Final = (b"", b"null")


class Body(msgspec.Struct, frozen=True, gc=False):
    """`prompt` of whatever name, as the JSON text that stands in the line."""

    model: str
    stream: object = None
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None


class Request(msgspec.Struct, frozen=True, gc=False):
    """A line whose shape is right."""

    custom_id: str
    method: str
    url: str
    body: Body


class Rules(msgspec.Struct, frozen=True):
    """What a batch's lines are held against. `models` are the known ones."""

    endpoint: str
    models: frozenset[str]
    single_model: bool = False

    @property
    def required(self) -> str | None:
        """The name of the body's prompt; None where an endpoint has none that we know."""
        return _REQUIRED.get(self.endpoint)


_REQUESTS: Final = msgspec.json.Decoder(Request)
_ANYTHING: Final = msgspec.json.Decoder()
# Nesting beyond the interpreter's depth raises RecursionError, bad UTF-8 UnicodeDecodeError.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class RequestReader:
    """Reads lines that keep every rule; made once for a batch, called for each line."""

    def __init__(self, rules: Rules) -> None:
        self._endpoint = rules.endpoint
        self._models = rules.models
        self._required = rules.required

    def read(self, line: bytes) -> tuple[Request, bytes] | None:
        """The request and its prompt as JSON text; None unless the line keeps every rule.

        msgspec does not look at the encoding of what it skips, so that is done here.
        """
        try:
            request = _REQUESTS.decode(line)
            if not line.isascii():
                line.decode()
        except _UNREADABLE:
            return None
        body = request.body
        if (
            request.url != self._endpoint
            or body.model not in self._models
            or request.method != "POST"
            or body.stream is True
        ):
            return None
        if self._required is None:
            return request, b""
        prompt = bytes(getattr(body, self._required))
        return None if prompt in _EMPTY else (request, prompt)


def explain(line: bytes, number: int, rules: Rules) -> tuple[list[Problem], str | None]:
    """Everything wrong with line `number`, in the order of its fields; and its custom_id."""
    try:
        line.decode()
        request = _ANYTHING.decode(line)
    except _UNREADABLE:
        return [not_json(number)], None
    if not isinstance(request, dict):
        message = "This line is not a JSON object."
        return [Problem("invalid_json_line", message, None, number)], None
    found = [*_of_envelope(request, number, rules), *_of_body(request.get("body"), number, rules)]
    custom_id = request.get("custom_id")
    return found, custom_id if isinstance(custom_id, str) else None


def _of_envelope(request: dict[str, Any], number: int, rules: Rules) -> list[Problem]:
    found = []
    for name in ("custom_id", "method", "url"):
        value = request.get(name)
        if value is None:
            found.append(missing(name, name, number))
        elif not isinstance(value, str):
            found.append(wrong_type(name, "a string", value, number))
        elif name == "method" and value != "POST":
            message = f"Invalid method: '{shown(value)}'. Only 'POST' is supported."
            found.append(Problem("invalid_method", message, name, number))
        elif name == "url" and value != rules.endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            found.append(Problem("invalid_url", message, name, number))
    return found


def _of_body(body: object, number: int, rules: Rules) -> list[Problem]:
    if body is None:
        return [missing("body", "body", number)]
    if not isinstance(body, dict):
        return [wrong_type("body", "an object", body, number)]
    found = _of_model(body.get("model"), number, rules)
    if rules.required is not None and body.get(rules.required) is None:
        found.append(missing(rules.required, f"body.{rules.required}", number))
    if body.get("stream") is True:
        spoken = _SPOKEN.get(rules.endpoint, rules.endpoint)
        message = f"{spoken}: Streaming is not supported in the Batch API."
        found.append(Problem("streaming_unsupported", message, "body.stream", number))
    return found


def _of_model(model: object, number: int, rules: Rules) -> list[Problem]:
    if model is None:
        return [Problem("invalid_request", "Model parameter is required.", "body.model", number)]
    if not isinstance(model, str):
        return [wrong_type("body.model", "a string", model, number)]
    if model not in rules.models:
        message = f"The provided model '{shown(model)}' is not supported by the Batch API."
        return [Problem("model_not_found", message, "body.model", number)]
    return []


def mismatched_model(model: str, number: int) -> Problem:
    """Where one model for a batch is asked for, a line that names another than the first."""
    message = (
        f"The model '{shown(model)}' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    return Problem("mismatched_model", message, "body.model", number)
