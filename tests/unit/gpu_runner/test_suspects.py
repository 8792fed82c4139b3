"""Finding the request that kills the engine."""

import math

import pytest

from batch_common.blobs import BlobStore
from batch_gpu_runner.chunk import Chunk, Request
from batch_gpu_runner.death import Cause, Death, read_death
from batch_gpu_runner.suspect_record import make_record, read_record, save_record, take_up
from batch_gpu_runner.suspects import Convicted, Suspects
from support.chunks import make_chunk, make_ready

CRASH = Death("CUDA error", Cause.CRASH)
KILLED = read_death("it was killed by SIGKILL")


def requests(chunk: Chunk) -> list[Request]:
    return list(iter(chunk.take, None))


class Trial:
    """Runs groups against an engine that dies of the lines in `killers`."""

    def __init__(self, suspects: Suspects, killers: set[int], *, window: int = 1000) -> None:
        self.suspects = suspects
        self.killers = killers
        self.window = window
        self.acquitted: set[int] = set()
        self.convicted: list[Convicted] = []
        self.deaths = 0

    def run(self, in_flight: list[Request], *, deaths: int = 1000) -> None:
        """From what is in flight to the end of the trial, or so many deaths."""
        while in_flight or self.suspects.on_trial:
            if self.killers & {each.line for each in in_flight}:
                self.deaths += 1
                found = self.suspects.engine_died(in_flight, CRASH)
                self.convicted += [found] if found else []
                if self.deaths == deaths:
                    return
            else:
                self.acquitted |= {each.line for each in in_flight}
            self.suspects.survived()
            in_flight = self._send()

    def _send(self) -> list[Request]:
        sent: list[Request] = []
        while len(sent) < self.window:
            request = self.suspects.take(idle=not sent)
            if request is None:
                break
            sent.append(request)
        return sent

    @property
    def lines(self) -> set[int]:
        return {each.request.line for each in self.convicted}


@pytest.mark.parametrize("window", [1, 2, 5, 8, 64, 256])
async def test_one_killer_costs_the_logarithm_and_two_deaths(blobs: BlobStore, window: int) -> None:
    """Wherever it stands among those in flight."""
    bound = math.ceil(math.log2(window)) + 2
    worst = 0
    for killer in {*range(0, window, 1 + window // 20), window - 1}:
        trial = Trial(Suspects(), {killer})
        trial.run(requests(make_chunk(blobs, make_ready(window))))
        assert trial.lines == {killer}
        assert trial.acquitted == set(range(window)) - {killer}
        worst = max(worst, trial.deaths)
    assert worst <= bound


@pytest.mark.parametrize("killers", [{0, 1}, {3, 4}, {0, 64, 100}, set(range(0, 128, 9))])
async def test_exactly_the_killers_are_convicted(blobs: BlobStore, killers: set[int]) -> None:
    trial = Trial(Suspects(), killers)
    trial.run(requests(make_chunk(blobs, make_ready(128))))
    assert trial.lines == killers
    assert trial.acquitted == set(range(128)) - killers
    assert trial.deaths <= (7 + 2) * len(killers)


async def test_every_request_may_be_a_killer(blobs: BlobStore) -> None:
    trial = Trial(Suspects(), set(range(8)))
    trial.run(requests(make_chunk(blobs, make_ready(8))))
    assert trial.lines == set(range(8))


async def test_a_group_larger_than_the_window_is_tried_in_parts(blobs: BlobStore) -> None:
    """The window shrinks when the engine runs out of memory."""
    trial = Trial(Suspects(), {5}, window=4)
    trial.run(requests(make_chunk(blobs, make_ready(64))))
    assert trial.lines == {5}
    assert trial.acquitted == set(range(64)) - {5}
    assert trial.deaths <= 1 + 2 + 2


async def test_a_death_from_outside_convicts_nobody(blobs: BlobStore) -> None:
    trial = Trial(Suspects(), set())
    in_flight = requests(make_chunk(blobs, make_ready(128)))
    trial.suspects.engine_died(in_flight, KILLED)
    trial.run([])
    assert trial.convicted == []
    assert trial.acquitted == set(range(128))


async def test_one_that_was_alone_by_chance_is_tried_again(blobs: BlobStore) -> None:
    """Engines are also killed from outside: one death proves nothing, nor do two of those."""
    suspects = Suspects()
    [request] = requests(make_chunk(blobs, make_ready(1)))
    assert suspects.engine_died([request], CRASH) is None
    again = suspects.take(idle=True)
    assert again is not None
    assert suspects.engine_died([again], KILLED) is None
    last = suspects.take(idle=True)
    assert last is not None
    convicted = suspects.engine_died([last], KILLED)
    assert convicted is not None
    assert convicted.error.code == "engine_crashed"
    suspects.survived()
    assert not suspects.on_trial


async def test_a_trial_begins_when_nothing_else_is_in_flight(blobs: BlobStore) -> None:
    suspects = Suspects()
    suspects.engine_died(requests(make_chunk(blobs, make_ready(4))), CRASH)
    assert suspects.take(idle=False) is None
    assert suspects.take(idle=True) is not None
    assert suspects.take(idle=False) is not None
    assert suspects.take(idle=False) is None


async def test_a_dropped_chunk_leaves_no_suspects(blobs: BlobStore) -> None:
    suspects = Suspects()
    mine, others = make_chunk(blobs, make_ready(4)), make_chunk(blobs, make_ready(3))
    suspects.engine_died([*requests(mine), *requests(others)], CRASH)
    suspects.drop(mine)
    assert len(suspects) == 3
    assert suspects.chunks() == [others]


async def reload(blobs: BlobStore, chunk: Chunk, trial: Trial, number: int) -> Trial:
    """As the next attempt, of whatever runner, finds it: results saved so far, and the record."""
    record = make_record(chunk, trial.suspects.of(chunk), trial.convicted)
    await save_record(blobs, chunk, record)
    listed = [info.key for info in await blobs.list(chunk.ready.prefix)]
    found = await read_record(blobs, listed)
    assert found is not None
    count = chunk.ready.end_line - chunk.ready.first_line
    done = bytes(line in trial.acquitted for line in range(count))
    again = make_chunk(blobs, chunk.ready, has=done, attempt=f"att_{number % 3}")
    following = Trial(Suspects(), trial.killers)
    following.acquitted, following.deaths = trial.acquitted, trial.deaths
    groups, following.convicted = take_up(again, found)
    following.suspects.add(groups)
    following.suspects.survived()
    return following


@pytest.mark.parametrize("window", [8, 64, 256])
@pytest.mark.parametrize("last", [False, True])
async def test_the_trial_goes_on_when_the_runner_dies_after_each_death(
    blobs: BlobStore, window: int, last: bool
) -> None:
    """Each time another runner goes on, one with a slow clock among them: no more deaths than one
    runner would have needed.
    """
    killer = window - 1 if last else 0
    ready = make_ready(window)
    chunk = make_chunk(blobs, ready)
    trial = Trial(Suspects(), {killer})
    trial.run(requests(chunk), deaths=1)
    number = 2
    while trial.suspects.on_trial:
        trial = await reload(blobs, chunk, trial, number)
        chunk = next(iter(trial.suspects.chunks()), chunk)
        trial.run(trial._send(), deaths=trial.deaths + 1)
        number += 1
    assert trial.lines == {killer}
    assert trial.acquitted == set(range(window)) - {killer}
    assert trial.deaths <= math.ceil(math.log2(window)) + 2


async def test_a_conviction_is_not_tried_again(blobs: BlobStore) -> None:
    """The runner was killed before the error line was saved."""
    chunk = make_chunk(blobs, make_ready(8))
    trial = Trial(Suspects(), {2})
    trial.run(requests(chunk))
    trial.acquitted = set()
    following = await reload(blobs, chunk, trial, 2)
    assert following.lines == {2}
    assert not following.suspects.on_trial
    assert following.convicted[0].request.chunk.segments.attempt == "att_2"
    assert following.convicted[0].error == trial.convicted[0].error


async def test_each_chunk_keeps_its_share(blobs: BlobStore) -> None:
    """The chunks of one runner may go on at two."""
    one = make_chunk(blobs, make_ready(6, chunk="one"))
    two = make_chunk(blobs, make_ready(2, chunk="two", first_line=6))
    suspects = Suspects()
    suspects.engine_died([*requests(one), *requests(two)], CRASH)
    shares = [
        [([r.line for r in group.requests], group.has_twin) for group in suspects.of(chunk)]
        for chunk in (one, two)
    ]
    assert shares == [[([0, 1, 2, 3], True), ([4, 5], False)], [([6, 7], False)]]


async def test_a_damaged_record_is_none(blobs: BlobStore) -> None:
    await blobs.put("chunks/b/c/att_1/suspects.json", b"{")
    assert await read_record(blobs, ["chunks/b/c/att_1/suspects.json"]) is None
    assert await read_record(blobs, ["chunks/b/c/att_1/segment-000001"]) is None
