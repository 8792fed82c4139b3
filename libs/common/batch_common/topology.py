"""The streams and the bucket, made idempotently."""

from typing import Any, Final

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError, NotFoundError

from batch_common import subjects
from batch_common.errors import StreamConflictError

_DAY_S: Final = 86400.0
_RUNNER_TTL_S: Final = 15.0


def streams(replicas: int) -> tuple[StreamConfig, ...]:
    """What we want. Ages are in seconds."""
    return (
        StreamConfig(
            name=subjects.BATCHES,
            description="What happens to batches; subscribe freely",
            subjects=[subjects.BATCH_EVENTS],
            retention=RetentionPolicy.LIMITS,
            max_age=7 * _DAY_S,
            storage=StorageType.FILE,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=subjects.CHUNKS,
            description="Chunks waiting for a runner, one message each",
            subjects=[subjects.CHUNK_READY_ALL],
            retention=RetentionPolicy.WORK_QUEUE,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            storage=StorageType.FILE,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=subjects.RESULTS,
            description="Chunks whose results wait to be committed",
            subjects=[subjects.CHUNK_COMPLETED],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            num_replicas=replicas,
        ),
        StreamConfig(
            name=subjects.DEAD,
            description="Deliveries that were given up",
            subjects=[subjects.DEAD_ALL],
            retention=RetentionPolicy.LIMITS,
            max_age=30 * _DAY_S,
            storage=StorageType.FILE,
            num_replicas=replicas,
        ),
    )


_COMPARED: Final = (
    "subjects",
    "retention",
    "max_age",
    "max_msgs_per_subject",
    "discard",
    "discard_new_per_subject",
    "storage",
)


async def ensure_topology(js: JetStreamContext, replicas: int) -> None:
    """Makes what is missing. Raises StreamConflictError, naming the settings that differ."""
    for wanted in streams(replicas):
        await _ensure_stream(js, wanted)
    await _ensure_runners(js, replicas)


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    name = wanted.name or ""
    try:
        found = (await js.stream_info(name)).config
    except NotFoundError:
        try:
            await js.add_stream(wanted)
            return
        except BadRequestError as error:
            # 10058: another process made it since. Else: its subjects belong to another stream.
            if error.err_code != 10058:
                raise StreamConflictError(
                    f"NATS refuses the stream {name}: {error.description}. Another stream holds "
                    "its subjects; remove that one, or give this system an account of its own"
                ) from error
        found = (await js.stream_info(name)).config
    if differing := _differences(wanted, found):
        raise StreamConflictError(
            f"the NATS stream {name} exists with other settings ({'; '.join(differing)}): remove "
            "it (`nats stream rm`), or give this system an account of its own"
        )


def _differences(wanted: StreamConfig, found: StreamConfig) -> list[str]:
    return [
        f"{name} is {_shown(found, name)}, not {_shown(wanted, name)}"
        for name in _COMPARED
        if _value(wanted, name) != _value(found, name)
    ]


def _value(config: StreamConfig, name: str) -> Any:
    value = getattr(config, name)
    if name == "max_age":
        return value or 0
    return value if value is not None else getattr(StreamConfig(), name)


def _shown(config: StreamConfig, name: str) -> str:
    value = _value(config, name)
    return str(getattr(value, "value", value))


async def _ensure_runners(js: JetStreamContext, replicas: int) -> None:
    await js.create_key_value(
        KeyValueConfig(
            bucket=subjects.RUNNERS_BUCKET,
            description="Who is running, and what they serve",
            ttl=_RUNNER_TTL_S,
            storage=StorageType.MEMORY,
            replicas=replicas,
        )
    )
