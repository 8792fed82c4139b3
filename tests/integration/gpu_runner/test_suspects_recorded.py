"""The hunt for the request that kills the engine outlives the runner that began it."""

import math
from collections.abc import Iterator

import msgspec
import pytest

from batch_common import crash_points, keys
from batch_common.blobs import BlobStore
from batch_common.crash_points import Side
from batch_gpu_runner.suspect_record import SuspectRecord
from support.runners import Runners
from support.scripted_scheduler import ScriptedScheduler
from support.wait import until

WINDOW = 8
POISON = {"crash_on": "poison", "ttft_ms": "20"}


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    crash_points.install(None)


async def records(blobs: BlobStore, prefix: str) -> dict[str, SuspectRecord]:
    """By the key of each attempt's."""
    found = [info.key for info in await blobs.list(prefix) if keys.is_suspects(info.key)]
    return {key: msgspec.json.decode(await blobs.get(key), type=SuspectRecord) for key in found}


async def test_the_next_runner_goes_on_with_what_was_known(
    scheduler: ScriptedScheduler, runners: Runners
) -> None:
    """Killed after the first death: begun anew, the hunt would cost every runner that tries."""
    prompts = [f"q {number}" for number in range(40)]
    [ready] = await scheduler.plan([*prompts[:20], "poison", *prompts[20:]])
    await scheduler.release(ready)
    first = runners.start(options=POISON, window=WINDOW)

    async def recorded() -> bool:
        return bool(await records(scheduler.blobs, ready.prefix))

    await until(recorded, within_s=30, what="a record of the suspects")
    await first.kill()
    [(key, known)] = (await records(scheduler.blobs, ready.prefix)).items()
    deaths: list[int] = []

    async def note(name: str, side: Side) -> None:
        """What the second runner records, each time."""
        if (name, side) == ("put chunk suspects", Side.AFTER):
            found = await records(scheduler.blobs, ready.prefix)
            deaths.extend(record.deaths for other, record in found.items() if other != key)

    crash_points.install(note)
    runners.start(options=POISON, window=WINDOW)
    manifest = await scheduler.completed(ready, within_s=60)
    assert (manifest.completed, manifest.failed) == (40, 1)
    [line] = await scheduler.lines(manifest.errors)
    assert (line["custom_id"], line["error"]["code"]) == ("r20", "engine_crashed")
    assert deaths[0] > known.deaths, "it went on counting"
    # The kill itself may cost one more: a half that was on trial is tried again.
    assert max(deaths) <= math.ceil(math.log2(WINDOW)) + 3
