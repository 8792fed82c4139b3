"""What a reviewer is shown as the model's answer."""

import json
from collections.abc import Mapping
from typing import Any

from batch_sinks.answer import answer_text


def shown_answer(response: Mapping[str, Any] | None) -> str | None:
    """JSON of an answer that is no text; None where there is no answer."""
    if response is None or not 200 <= response["status_code"] < 300:
        return None
    body = response["body"]
    text = answer_text(body)
    return json.dumps(_spoken(body), ensure_ascii=False) if text is None else text


def _spoken(body: Any) -> Any:
    """Of a chat only the message, which is a refusal, or calls tools."""
    match body:
        case {"choices": [{"message": message}, *_]}:
            return message
    return body
