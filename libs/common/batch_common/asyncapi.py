"""`python -m batch_common.asyncapi schemas/asyncapi.json` writes the AsyncAPI 3 document.

It is written from this server's side: what it sends, others may receive.
"""

import inspect
import sys
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from batch_common import events, subjects

# Of the contract, which is not that of a release.
_VERSION: Final = "1.0.0"
_ABOUT: Final = """\
Everything that happens to a batch is a message on NATS JetStream. Subscribe to `batch.>` and \
`dead.>`. The channels tagged `internal` are how the services talk to each other: do not consume \
them; a chunk that somebody else takes is one that no runner gets. docs/EVENTS.md says more."""
_PARAMETERS: Final = {
    "model": "The model's name as one token: bytes other than ASCII letters, digits, _ and - are = "
    "and two hexadecimal digits.",
    "chunk": "The chunk's id.",
    "sink": "The sink that gave the delivery up.",
    "runner": "The runner's id.",
}
_HEADERS: Final = {
    "ce-specversion": "1.0",
    "ce-id": "The event's id, the same in every repeat.",
    "ce-type": "As the message is called here.",
    "ce-source": "/vllm-batch/ and the service that speaks.",
    "ce-time": "RFC 3339, in UTC.",
    "content-type": "application/json",
    "traceparent": "W3C trace context.",
    "Nats-Msg-Id": "For the stream's dedupe window.",
}


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A subject and what travels on it. stream None: a request, or the bucket."""

    address: str
    message: type[msgspec.Struct]
    stream: str | None = None
    internal: bool = True
    action: Literal["send", "receive"] = "send"
    # What answers a request.
    reply: type[msgspec.Struct] | None = None


CHANNELS: Final[dict[str, Channel]] = {
    **{
        event.type: Channel(
            address=event.type, message=event, stream=subjects.BATCHES, internal=False
        )
        for event in events.BATCH_EVENTS
    },
    "dead": Channel(
        address=subjects.dead("{sink}"),
        message=events.DeliveryFailed,
        stream=subjects.DEAD,
        internal=False,
    ),
    "chunk.ready": Channel(
        address="chunk.ready.{model}.{chunk}", message=events.ChunkReady, stream=subjects.CHUNKS
    ),
    "chunk.completed": Channel(
        address=subjects.CHUNK_COMPLETED, message=events.ChunkCompleted, stream=subjects.RESULTS
    ),
    "chunk.claim": Channel(
        address=subjects.CHUNK_CLAIM,
        message=events.ChunkClaim,
        action="receive",
        reply=events.ClaimAnswer,
    ),
    "webhook.test": Channel(
        address=subjects.WEBHOOK_TEST,
        message=events.WebhookTest,
        action="receive",
        reply=events.WebhookTested,
    ),
    "runners": Channel(
        address=f"$KV.{subjects.RUNNERS_BUCKET}.{{runner}}", message=events.RunnerState
    ),
}


def document() -> bytes:
    """The whole document, in JSON."""
    kinds = sorted(
        {kind for it in CHANNELS.values() for kind in (it.message, it.reply) if kind},
        key=lambda kind: kind.__name__,
    )
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    channels = {name: _channel(it) for name, it in CHANNELS.items()}
    channels |= {f"{name}.reply": _inbox(it.reply) for name, it in CHANNELS.items() if it.reply}
    tree = {
        "asyncapi": "3.0.0",
        "info": {"title": "vllm-batch-server", "version": _VERSION, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": {name: _operation(name, it) for name, it in CHANNELS.items()},
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in kinds},
            "schemas": dict(sorted(schemas.items())),
        },
    }
    return msgspec.json.format(msgspec.json.encode(tree), indent=2) + b"\n"


def _channel(channel: Channel) -> dict[str, Any]:
    names = [name for name in _PARAMETERS if f"{{{name}}}" in channel.address]
    found: dict[str, Any] = {"address": channel.address, "messages": _named(channel.message)}
    if names:
        found["parameters"] = {name: {"description": _PARAMETERS[name]} for name in names}
    if channel.stream:
        found["x-jetstream-stream"] = channel.stream
    return found


def _inbox(reply: type[msgspec.Struct]) -> dict[str, Any]:
    """A request names the subject that its answer goes to."""
    return {"address": None, "messages": _named(reply)}


def _named(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}}


def _operation(name: str, channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": _about(channel.message),
        "tags": [{"name": "internal" if channel.internal else "public"}],
    }
    if channel.reply:
        found["reply"] = {"channel": {"$ref": f"#/channels/{name}.reply"}}
    return found


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": _about(kind),
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }
    if issubclass(kind, events.Event):
        found["name"] = kind.type
        found["headers"] = {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": about} for name, about in _HEADERS.items()
            },
            "required": [name for name in _HEADERS if name != "traceparent"],
        }
    return found


def _about(kind: type[msgspec.Struct]) -> str:
    return inspect.getdoc(kind) or ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(document())
