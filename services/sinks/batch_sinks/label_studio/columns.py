"""The columns of a task: what of a result and its request Label Studio keeps and shows."""

import json
from collections.abc import Mapping
from typing import Any, Final

from batch_common.json_pointer import resolve
from batch_common.task_schema import LAST_USER_MESSAGE, Input, TaskSchema
from batch_sinks.handler import BatchMetadata

BATCH: Final = "batch_id"
RESULT: Final = "result_id"
ANSWER: Final = "answer"
PROBLEMS: Final = "problems"
OURS: Final = (BATCH, RESULT, "custom_id", "tenant", "model", ANSWER, PROBLEMS)
"""What every task has, whatever its schema."""


def column_names(schema: TaskSchema) -> dict[str, str]:
    """Input → column: its own name, with a `_` behind it where that is one of ours."""
    taken = {*OURS, *(shown.name for shown in schema.inputs)}
    names = {}
    for shown in schema.inputs:
        name = shown.name
        while name in OURS or (name != shown.name and name in taken):
            name += "_"
        taken.add(name)
        names[shown.name] = name
    return names


def shown_value(shown: Input, body: Mapping[str, Any]) -> Any:
    """Of the type that its tag takes: a list of messages for a chat, text for all others."""
    value = _found(shown.source, body)
    if shown.show == "chat":
        return messages(value)
    if shown.show == "json":
        return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)
    return as_text(value)


def messages(value: Any) -> list[dict[str, str]]:
    """Text alone is the user's message; what says nothing is left out."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    found = [_message(item) for item in items]
    return [message for message in found if message["content"]]


def as_text(value: Any) -> str:
    """The text parts of a message's content; JSON of what is no text."""
    match value:
        case None:
            return ""
        case str():
            return value
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return url
        case {"text": str(text)} | {"refusal": str(text)}:
            return text
        case list() if all(isinstance(part, dict | str) for part in value):
            return "\n".join(as_text(part) for part in value)
    return json.dumps(value, ensure_ascii=False)


def _message(item: Any) -> dict[str, str]:
    if isinstance(item, dict) and "content" in item:
        said = (as_text(item["content"]), as_text(item.get("tool_calls")))
        content = "\n".join(text for text in said if text)
        return {"role": str(item.get("role", "user")), "content": content}
    return {"role": "user", "content": as_text(item)}


def _found(source: str, body: Mapping[str, Any]) -> Any:
    """None where the request has nothing there."""
    if source == LAST_USER_MESSAGE:
        return _last_user_message(body)
    try:
        return resolve(body, source)
    except (LookupError, ValueError):
        return None


def _last_user_message(body: Mapping[str, Any]) -> Any:
    """Of chat messages, or of what the other endpoints call `input` and `prompt`."""
    said = body.get("messages", body.get("input", body.get("prompt")))
    if not isinstance(said, list):
        return said
    users = [item for item in said if isinstance(item, dict) and item.get("role") == "user"]
    return users[-1].get("content") if users else None


def our_columns(
    batch_id: str, result: Mapping[str, Any], metadata: BatchMetadata
) -> dict[str, str]:
    """Whose task it is."""
    body = (result["request"] or {}).get("body") or {}
    return {
        BATCH: batch_id,
        RESULT: result["id"],
        "custom_id": result["custom_id"],
        "tenant": metadata["tenant"],
        "model": str(body.get("model") or metadata["model"] or ""),
    }
