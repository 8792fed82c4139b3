"""`python -m batch_common.event_schemas schemas/events` writes the events' JSON Schemas."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from batch_common.events import STREAM_EVENTS, ChunkClaim, ClaimAnswer, RunnerState


def event_schemas() -> dict[str, bytes]:
    """File name → JSON Schema (2020-12), one for each message."""
    named: dict[str, type[msgspec.Struct]] = {event.type: event for event in STREAM_EVENTS}
    named |= {
        "chunk.claim": ChunkClaim,
        "chunk.claim.answer": ClaimAnswer,
        "runner": RunnerState,
    }
    return {f"{name}.json": _schema(name, kind) for name, kind in named.items()}


def _schema(name: str, kind: type[msgspec.Struct]) -> bytes:
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"vllm-batch-server/events/{name}.json",
        **msgspec.json.schema(kind),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in event_schemas().items():
        (folder / name).write_bytes(schema)


if __name__ == "__main__":
    main()
