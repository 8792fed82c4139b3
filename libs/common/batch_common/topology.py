"""The streams and the bucket, made idempotently."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nats.js import JetStreamContext
from nats.js.api import (
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, BadRequestError, NotFoundError

from batch_common import subjects
from batch_common.errors import ConfigError, StreamConflictError
from batch_common.logs import get_log

log = get_log(__name__)

_DAY_S: Final = 86400.0
_RUNNER_TTL_S: Final = 15.0
# The server's own error codes.
_EXISTS: Final = 10058
_OVERLAPS: Final = 10065
_NOT_CLUSTERED: Final = 10074


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
    """Makes what is missing, and more copies where `replicas` asks for more.

    Raises StreamConflictError, naming the settings that differ, and ConfigError where copies
    are asked of a server without a cluster.
    """
    for wanted in streams(replicas):
        await _ensure_stream(js, wanted)
    await _ensure_runners(js, replicas)


async def _ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    name = wanted.name or ""
    try:
        found = (await js.stream_info(name)).config
    except NotFoundError:
        if await _add_stream(js, wanted):
            return
        found = (await js.stream_info(name)).config
    if differing := _differences(wanted, found):
        raise StreamConflictError(
            f"the NATS stream {name} exists with other settings ({'; '.join(differing)}): remove "
            "it (`nats stream rm`), or give this system an account of its own"
        )
    await _copy_to_more(js, found, wanted.num_replicas or 1)


async def _add_stream(js: JetStreamContext, wanted: StreamConfig) -> bool:
    """False: another process made it since."""
    try:
        with _cluster_needed(wanted.num_replicas):
            await js.add_stream(wanted)
    except BadRequestError as error:
        if error.err_code == _OVERLAPS:
            raise StreamConflictError(
                f"NATS refuses the stream {wanted.name}: {error.description}. Another stream holds "
                "its subjects; remove that one, or give this system an account of its own"
            ) from error
        if error.err_code != _EXISTS:
            raise
        return False
    return True


async def _copy_to_more(js: JetStreamContext, found: StreamConfig, replicas: int) -> None:
    """A server that grew to a cluster gets its copies; there are never made fewer from here."""
    before = found.num_replicas or 1
    if before >= replicas:
        return
    with _cluster_needed(replicas):
        await js.update_stream(found.evolve(num_replicas=replicas))
    log.info("stream_replicas_raised", stream=found.name, before=before, now=replicas)


@contextmanager
def _cluster_needed(replicas: int | None) -> Iterator[None]:
    try:
        yield
    except APIError as error:
        if error.err_code != _NOT_CLUSTERED:
            raise
        raise ConfigError(
            f"nats.replicas is {replicas}, but the NATS server is not part of a cluster: set "
            "nats.replicas to 1, or nats.url to the servers of a cluster"
        ) from error


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
    try:
        found = (await js.stream_info(f"KV_{subjects.RUNNERS_BUCKET}")).config
    except NotFoundError:
        await _add_runners(js, replicas)
    else:
        await _copy_to_more(js, found, replicas)


async def _add_runners(js: JetStreamContext, replicas: int) -> None:
    with _cluster_needed(replicas):
        await js.create_key_value(
            KeyValueConfig(
                bucket=subjects.RUNNERS_BUCKET,
                description="Who is running, and what they serve",
                ttl=_RUNNER_TTL_S,
                storage=StorageType.MEMORY,
                replicas=replicas,
            )
        )
