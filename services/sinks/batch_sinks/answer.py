"""What a model answered, taken from the body of a response."""

from collections.abc import Iterator
from typing import Any


def answer_text(body: Any) -> str | None:
    """Of the first choice; None where there is no text, as in a refusal or a tool's call."""
    if not isinstance(body, dict):
        return None
    if "output" in body:
        return _of_responses(body["output"])
    choice = next(_dicts(body.get("choices")), {})
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return text if isinstance(text, str) else None


def is_cut_off(body: Any) -> bool:
    """Whether the model stopped at the limit of tokens, not by itself."""
    if not isinstance(body, dict):
        return False
    choice = next(_dicts(body.get("choices")), {})
    return choice.get("finish_reason") == "length" or body.get("status") == "incomplete"


def _of_responses(output: Any) -> str | None:
    texts = [
        part["text"]
        for item in _dicts(output)
        if item.get("type") == "message"
        for part in _dicts(item.get("content"))
        if part.get("type") == "output_text" and isinstance(part.get("text"), str)
    ]
    return "".join(texts) if texts else None


def _dicts(values: Any) -> Iterator[dict[str, Any]]:
    inner = values if isinstance(values, list) else []
    return (each for each in inner if isinstance(each, dict))
