"""Input files."""

import json
from collections.abc import Iterable
from typing import Any

CHAT = "/v1/chat/completions"


def chat_line(custom_id: str, prompt: str, model: str = "sim", **body: Any) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "messages": [{"role": "user", "content": prompt}], **body},
    }


def jsonl(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def custom_ids(data: bytes) -> list[str]:
    """Of a result file, in its order."""
    return [json.loads(line)["custom_id"] for line in data.splitlines()]
