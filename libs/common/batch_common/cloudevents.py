"""CloudEvents 1.0 attributes as NATS headers (binary mode), and W3C trace context."""

import os
from datetime import UTC, datetime
from typing import Final

MESSAGE_ID: Final = "Nats-Msg-Id"
EVENT_ID: Final = "ce-id"
EVENT_TYPE: Final = "ce-type"
TRACE: Final = "traceparent"


def headers(
    event_id: str, event_type: str, source: str, at: float, traceparent: str | None
) -> dict[str, str]:
    """`at` is in Unix seconds; `source` is the service that speaks."""
    found = {
        "ce-specversion": "1.0",
        EVENT_ID: event_id,
        EVENT_TYPE: event_type,
        "ce-source": f"/vllm-batch/{source}",
        "ce-time": datetime.fromtimestamp(at, UTC).isoformat(),
        "content-type": "application/json",
    }
    if traceparent:
        found[TRACE] = traceparent
    return found


def new_traceparent() -> str:
    """A sampled root for a request that came without one."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
