"""An answer that is no success, as an error that says what to do."""

from typing import Any, Final

import msgspec

from batch_sinks.label_studio.target import Target
from batch_sinks.sink import DeliveryError

_DETAIL_CHARS: Final = 200

_TO_DO: Final = {
    401: "it does not accept the API key: make a new one under Account & Settings and set it as "
    "result_handlers.label_studio.api_key or LABEL_STUDIO_API_KEY",
    403: "the API key's user may not do that: give the user the role it takes, or use another key",
    413: "a proxy in front of it takes no body of that size: lower "
    "result_handlers.label_studio.tasks_at_once, or raise the proxy's limit",
    429: "it asks for fewer requests; they go on by themselves",
}
_FAULT: Final = "the fault is on its side, and its log says more"
_OTHER: Final = "see its log"


class MissingError(DeliveryError):
    """404: a project or a task that is not there, or not for this key."""


def refusal(target: Target, status: int, answer: bytes, what: str) -> DeliveryError:
    """`what` was asked is named in the message; what was answered is cut short."""
    said = _detail(answer).replace(target.key.reveal(), "***")
    to_do = _TO_DO.get(status, _FAULT if status >= 500 else _OTHER)
    if 300 <= status < 400:
        to_do = "redirects are not followed: set the URL that they lead to"
    kind = MissingError if status == 404 else DeliveryError
    quoted = f" ({said})" if said else ""
    return kind(f"{target.name} answered {status} to {what}{quoted}: {to_do}")


def _detail(answer: bytes) -> str:
    """Label Studio's own words, without the task that they may quote after a `::`."""
    try:
        decoded = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        return ""
    text = _first_words(decoded).partition(" :: ")[0]
    return " ".join(text.split())[:_DETAIL_CHARS]


def _first_words(value: Any) -> str:
    match value:
        case str():
            return value
        case {"validation_errors": inner} if inner:
            return _first_words(inner)
        case {"detail": inner}:
            return _first_words(inner)
        case dict():
            return _first_words(list(value.values()))
        case list():
            return next((words for item in value if (words := _first_words(item))), "")
    return ""
