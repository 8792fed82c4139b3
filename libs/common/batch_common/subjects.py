"""NATS subjects, stream names and the encoding of model names into one subject token."""

import re
import string

BATCHES = "BATCHES"
CHUNKS = "CHUNKS"
RESULTS = "RESULTS"
DEAD = "DEAD"
RUNNERS_BUCKET = "runners"

BATCH_EVENTS = "batch.>"
CHUNK_READY_ALL = "chunk.ready.>"
CHUNK_COMPLETED = "chunk.completed"
CHUNK_CLAIM = "chunk.claim"
WEBHOOK_TEST = "webhook.test"
DEAD_ALL = "dead.>"

_PLAIN = frozenset((string.ascii_letters + string.digits + "_-").encode())


def model_token(model: str) -> str:
    """One subject token for a model name; no two names share one.

    ASCII letters, digits, `_` and `-` stand for themselves; every other byte of the UTF-8 form
    becomes `=` and two lower-case hex digits: `Qwen/Qwen3-4B` → `Qwen=2fQwen3-4B`.
    """
    return "".join(chr(b) if b in _PLAIN else f"={b:02x}" for b in model.encode())


def model_name(token: str) -> str:
    """The inverse of `model_token`."""
    raw = re.sub(rb"=([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), token.encode())
    return raw.decode()


def chunk_ready(model: str, chunk_id: str) -> str:
    """The subject of one chunk's message."""
    return f"chunk.ready.{model_token(model)}.{chunk_id}"


def chunks_of(model: str) -> str:
    """The filter of the consumer that a model's runners share."""
    return f"chunk.ready.{model_token(model)}.>"


def dead(sink: str) -> str:
    """Where deliveries end that a sink has given up."""
    return f"dead.{sink}"


def event_of(subject: str) -> str:
    """What is told on a subject, without the model, chunk or sink it is about."""
    first, _, rest = subject.partition(".")
    return first if first == "dead" else f"{first}.{rest.partition('.')[0]}"


def runner_durable(model: str) -> str:
    """The name of that consumer."""
    return f"runner-{model_token(model)}"
