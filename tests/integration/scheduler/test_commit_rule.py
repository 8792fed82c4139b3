"""Every order, repetition and loss of claims, completions, deaths and commits.

The schedulers, their database and blobs are real; runners, streams and the clock do what
hypothesis orders. Whatever has happened, once the faults end every batch ends, with each
line's result counted once.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from batch_common.errors import BlobNotFoundError
from batch_common.events import ChunkReady, decode
from batch_common.state import TERMINAL
from batch_scheduler.close import close
from batch_scheduler.context import PASSING
from batch_scheduler.finalise import finalise
from batch_scheduler.reconcile import reconcile
from batch_scheduler.sweep import sweep_batches
from support.examples import TIMEOUT_S, examples
from support.world import clock, template
from support.world.attempts import Attempt
from support.world.check import Checker
from support.world.streams import Message
from support.world.trouble import Trouble, troubled
from support.world.world import CLAIM_S, Scheduler, World

Step = Callable[[], Awaitable[object]]

LINES = st.lists(st.tuples(st.sampled_from("mn"), st.booleans()), min_size=1, max_size=9)
TROUBLE = st.none() | st.builds(
    Trouble, st.sampled_from(["die", "fail", "race"]), st.integers(0, 9)
)
DEATH = st.none() | st.builds(Trouble, st.just("die"), st.integers(0, 9))
ANY = st.integers(0, 99)
LOOPS = ["validate", "release", "relay", "close", "finalise", "reconcile", "sweep", "audit"]


@pytest.fixture(scope="module", autouse=True)
def _template(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A migrated database, copied for each example."""
    Orders.template = template.make(tmp_path_factory.mktemp("template"))


class Orders(RuleBasedStateMachine):
    """A rule is a step of one process, or something that happens to one."""

    template: Path

    @initialize(lines=LINES)
    def start(self, lines: list[tuple[str, bool]]) -> None:
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "batches.db")
        self.patch = pytest.MonkeyPatch()
        self.clock = clock.install(self.patch)
        self.loop = asyncio.Runner()
        self.world = World(self.folder)
        self.checker = Checker(self.world)
        self.old: list[Message] = []
        self.run(lambda: self.world.submit(lines))
        self.run(self._every_loop)

    @invariant()
    def holds(self) -> None:
        self.loop.run(self.checker.check())

    def run(self, step: Step, trouble: Trouble | None = None, between: Step | None = None) -> None:
        async def go() -> None:
            with troubled(trouble, lambda: self._quietly(between) if between else _nothing()):
                await self._quietly(step)

        self.loop.run(go())

    async def _quietly(self, step: Step) -> None:
        """The faults that a loop takes as passing, and an attempt whose chunk is gone."""
        with suppress(*PASSING, BlobNotFoundError):
            await step()

    def step(self, name: str, which: int) -> Step:
        scheduler = self.world.schedulers[which % 2]
        return _steps(scheduler)[name]

    # What users do.

    @rule(lines=LINES)
    def submit(self, lines: list[tuple[str, bool]]) -> None:
        if len(self.world.inputs) < 3:
            self.run(lambda: self.world.submit(lines))

    @rule(which=ANY, how=st.sampled_from(["cancel", "cancel", "expire", "let", "let", "let"]))
    def end_early(self, which: int, how: str) -> None:
        if how == "cancel":
            self.run(lambda: self.world.cancel(self._batch(which)))
        elif how == "expire":
            self.run(lambda: self.world.expire(self._batch(which)))

    def _batch(self, which: int) -> str:
        known = list(self.world.inputs)
        return known[which % len(known)]

    # What schedulers do, one or two of them.

    @rule(name=st.sampled_from(LOOPS), which=ANY, trouble=TROUBLE, other=st.sampled_from(LOOPS))
    def work(self, name: str, which: int, trouble: Trouble | None, other: str) -> None:
        """A race is with the same or another step of the other scheduler."""
        self.run(self.step(name, which), trouble, self.step(other, which + 1))

    @rule(name=st.sampled_from(["close", "finalise", "reconcile"]), at=ANY, which=ANY)
    def overtaken(self, name: str, at: int, which: int) -> None:
        """A completion is committed, or a batch cancelled, in the middle of a step."""

        async def both() -> None:
            await self._commit(which)
            if at % 3 == 0:
                await self.world.cancel(self._batch(which))

        self.run(self.step(name, which), Trouble("race", at % 8), both)

    @rule()
    def all_loops(self) -> None:
        """Both schedulers' share of a quiet second."""
        self.run(self._every_loop)

    async def _every_loop(self) -> None:
        for name in LOOPS:
            await self.step(name, 0)()

    # What runners do.

    @precondition(lambda self: self.world.streams.ready)
    @rule(which=ANY)
    def deliver_chunk(self, which: int) -> None:
        """For the first time, or again while somebody works at it."""
        self._take(which)

    def _take(self, which: int) -> Attempt:
        waiting = list(self.world.streams.ready.values())
        attempt = Attempt(self.world.streams, self.world.blobs, waiting[which % len(waiting)])
        self.world.attempts.append(attempt)
        return attempt

    @precondition(lambda self: self.world.attempts)
    @rule(which=ANY, heard=st.booleans())
    def claim(self, which: int, heard: bool) -> None:
        """Unheard, the attempt goes on as it was."""
        attempt = self._attempt(which)

        async def ask() -> None:
            answer = await self.world.claim(attempt)
            if heard:
                attempt.answer = answer

        self.run(ask)

    @precondition(lambda self: self.world.attempts)
    @rule(which=ANY, count=st.integers(1, 4), trouble=DEATH)
    def save(self, which: int, count: int, trouble: Trouble | None) -> None:
        """Whatever it was answered: a zombie has not heard it."""
        attempt = self._attempt(which)

        async def work() -> None:
            if not attempt.has_begun:
                await attempt.begin()
            elif not attempt.is_done:
                await attempt.save(count)

        self.run(work, trouble)

    @precondition(lambda self: any(a.is_done for a in self.world.attempts))
    @rule(which=ANY, trouble=DEATH)
    def finish(self, which: int, trouble: Trouble | None) -> None:
        done = [a for a in self.world.attempts if a.is_done]
        self.run(done[which % len(done)].finish, trouble)

    @precondition(lambda self: self.world.attempts)
    @rule(which=ANY)
    def let_go(self, which: int) -> None:
        self.run(lambda: self.world.claim(self._attempt(which), released=True))

    @precondition(lambda self: self.world.streams.ready)
    @rule(which=ANY, trouble=DEATH)
    def do_chunk(self, which: int, trouble: Trouble | None) -> None:
        """All of it at once, if it may."""
        self.run(lambda: self._do(which), trouble)

    async def _do(self, which: int) -> None:
        attempt = self._take(which)
        answer = await self.world.claim(attempt)
        if answer == "stop":
            self.world.streams.ack(attempt.message)
        if answer != "go":
            return
        await attempt.begin()
        while not attempt.is_done:
            await attempt.save(2)
        await attempt.finish()

    def _attempt(self, which: int) -> Attempt:
        return self.world.attempts[which % len(self.world.attempts)]

    # What the transport does.

    @rule(which=ANY, keep=st.booleans(), trouble=DEATH)
    def deliver_completion(self, which: int, keep: bool, trouble: Trouble | None) -> None:
        """In any order, and again."""
        self.run(lambda: self._commit(which, keep=keep), trouble)

    async def _commit(self, which: int, *, keep: bool = True) -> None:
        waiting = [*self.world.streams.completions, *self.old]
        if not waiting:
            return
        message = waiting[which % len(waiting)]
        await self.world.commit(message, scheduler=which % 2, delivered=which)
        if not keep and message in self.world.streams.completions:
            self.world.streams.completions.remove(message)
            self.old.append(message)

    @rule(which=ANY)
    def lose_message(self, which: int) -> None:
        streams = self.world.streams
        if subjects := list(streams.ready):
            del streams.ready[subjects[which % len(subjects)]]
        elif streams.completions:
            del streams.completions[which % len(streams.completions)]

    @rule()
    def lose_store(self) -> None:
        self.old += self.world.streams.completions
        self.world.streams.lose_store()

    @rule(seconds=st.sampled_from([0.5, CLAIM_S + 0.5, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.forward(seconds)

    # And in the end.

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.loop.run(self._calm_down())
        finally:
            self.loop.run(self.world.close())
            self.loop.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    async def _calm_down(self) -> None:
        """No more faults: good runners, both schedulers, and time for claims to run out."""
        for _ in range(40):
            await self._every_loop()
            await self._offered_once()
            while self.world.streams.ready:
                before = len(self.world.streams.ready)
                await self._quietly(lambda: self._do(0))
                if len(self.world.streams.ready) == before:
                    break
            while self.world.streams.completions:
                await self._commit(0, keep=False)
            await self.checker.check()
            if all([(await self.world.batch(b)).status in TERMINAL for b in self.world.inputs]):
                return
            self.clock.forward(CLAIM_S + 0.5)
        raise AssertionError("a batch does not end")

    async def _offered_once(self) -> None:
        """No chunk is queued twice, whatever was published again."""
        waiting = [decode(m.body, ChunkReady) for m in self.world.streams.ready.values()]
        assert len({ready.chunk for ready in waiting}) == len(waiting)


async def _nothing() -> None:
    pass


def _steps(scheduler: Scheduler) -> dict[str, Step]:
    context = scheduler.context
    return {
        "validate": scheduler.validate,
        "release": scheduler.releaser.release,
        "relay": scheduler.relay.send_page,
        "audit": scheduler.relay.audit_once,
        "close": lambda: close(context),
        "finalise": lambda: finalise(context),
        "reconcile": lambda: reconcile(context),
        "sweep": lambda: sweep_batches(context),
    }


@pytest.mark.timeout(TIMEOUT_S)
def test_each_result_counts_once_in_any_order_of_events() -> None:
    run_state_machine_as_test(Orders, settings=examples(15, stateful_step_count=30))
