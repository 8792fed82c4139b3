"""Reading a JSON body field by field, with OpenAI's words for what is wrong."""

from typing import Any, Final

import msgspec

from batch_gateway.errors import ApiError, missing


class Body:
    """The JSON object of a request. Every method raises ApiError (400)."""

    def __init__(self, raw: bytes) -> None:
        self._values = _parse(raw)

    def required(self, name: str) -> Any:
        if name not in self._values:
            raise missing(name)
        return self._values[name]

    def text(self, name: str) -> str:
        return text(self.required(name), name)

    def integer(self, name: str) -> int:
        return integer(self.required(name), name)

    def optional(self, name: str) -> Any:
        """None where it is absent or null."""
        return self._values.get(name)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(400, f"The body of the request is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ApiError(
            400, f"The body of the request must be a JSON object, but it is {kind_of(value)}."
        )
    return value


def text(value: Any, name: str) -> str:
    """Refuses NUL characters, which Postgres cannot store."""
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    if "\0" in value:
        raise ApiError(
            400,
            f"Invalid '{name}': it must not hold NUL characters.",
            param=name,
            code="invalid_value",
        )
    return value


def integer(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    return value


def wrong_type(name: str, expected: str, value: Any) -> ApiError:
    return ApiError(
        400,
        f"Invalid type for '{name}': expected {expected}, but got {kind_of(value)} instead.",
        param=name,
        code="invalid_type",
    )


_KINDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def kind_of(value: Any) -> str:
    """What a decoded JSON value is, in OpenAI's words."""
    return _KINDS[type(value)]
