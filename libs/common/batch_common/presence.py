"""Who is running: the `runners` bucket, written often and read by polling.

A watch on the bucket falls silent for ever when the store is lost; polling does not.
"""

import msgspec
import nats.js.errors

from batch_common.bus import Bus, bus_errors
from batch_common.events import RunnerState, decode, encode
from batch_common.subjects import RUNNERS_BUCKET


async def announce(bus: Bus, state: RunnerState) -> None:
    """Writes a runner's entry; without a rewrite it disappears after 15 s."""
    with bus_errors("announce the runner"):
        try:
            await _put(bus, state)
        except nats.js.errors.NotFoundError:
            await bus.ensure_topology()
            await _put(bus, state)


async def _put(bus: Bus, state: RunnerState) -> None:
    bucket = await bus.js.key_value(RUNNERS_BUCKET)
    await bucket.put(state.runner, encode(state))


async def withdraw(bus: Bus, runner: str) -> None:
    """Removes a runner's entry at once."""
    with bus_errors("withdraw the runner"):
        bucket = await bus.js.key_value(RUNNERS_BUCKET)
        await bucket.delete(runner)


async def present(bus: Bus) -> list[RunnerState]:
    """Every runner that announced itself in the last 15 s. Raises BusUnavailableError."""
    with bus_errors("list the runners"):
        try:
            bucket = await bus.js.key_value(RUNNERS_BUCKET)
            keys = await bucket.keys()
        except (nats.js.errors.NoKeysError, nats.js.errors.NotFoundError):
            return []
        return [state for key in keys if (state := await _get(bucket, key)) is not None]


async def _get(bucket: nats.js.kv.KeyValue, key: str) -> RunnerState | None:
    try:
        entry = await bucket.get(key)
        return decode(entry.value or b"", RunnerState)
    except (nats.js.errors.NotFoundError, msgspec.DecodeError):
        return None  # gone since, or written by another release
