"""What is given up after an engine ran out of memory, and taken back when one request was to blame.

Requests in flight are halved each time, the engine's own memory settings go down by a step when
the load was an ordinary one. Some quiet minutes later requests come back, to three quarters of the
number that was too much. `memory_record` keeps what is left over a restart of the runner.
"""

from typing import Final

from batch_common.logs import get_log
from batch_gpu_runner import metrics
from batch_gpu_runner.death import Cause, Death
from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.engines.memory_steps import MAX_STEPS
from batch_gpu_runner.memory_record import Spared

log = get_log(__name__)

_QUIET_S: Final = 300.0


class Memory:
    """`size`: how many requests may be in flight; the owner resizes the window to it."""

    def __init__(self, engine: Engine, size: int, known: Spared | None = None) -> None:
        """`known`: what an earlier runner had to spare; acts on the engine's next start."""
        self._given = size
        self._engine = engine
        self._steps = 0
        self.size = min(size, known.window) if known else size
        self._ceiling = self.size
        # Size, ceiling and steps before the deaths that are being looked into.
        self._before: tuple[int, int, int] | None = None
        self._quiet_s = 0.0
        metrics.MEMORY_STEPS.set(0)
        if known:
            self._spare(known.steps)

    @property
    def spared(self) -> Spared | None:
        """What a later runner should begin with; None: everything as given."""
        if not self._steps and self._ceiling >= self._given:
            return None
        return Spared(self._steps, self._ceiling)

    def died(self, death: Death, in_flight: int, *, on_trial: bool) -> None:
        """`on_trial`: suspects of an earlier death were in flight, and nothing else."""
        self._quiet_s = 0.0
        if death.cause is not Cause.OUT_OF_MEMORY:
            return
        if not on_trial or self._before is None:
            self._before = (self.size, self._ceiling, self._steps)
            self._spare(self._steps + 1)
        if in_flight > 1:
            self._ceiling = max(1, min(self.size, in_flight) * 3 // 4)
            self.size = max(1, min(self.size, in_flight) // 2)
        log.warning("memory_spared", window=self.size, steps=self._steps)

    def convicted(self, death: Death) -> None:
        """It was one request's doing: nothing need be spared for the others."""
        if death.cause is Cause.OUT_OF_MEMORY and self._before is not None:
            self.size, self._ceiling, steps = self._before
            self._before = None
            self._spare(steps)

    def start_failed(self, *, out_of_memory: bool) -> None:
        """Too little is no better than too much: a model has to fit into what it is given."""
        if out_of_memory:
            self._spare(self._steps + 1)
        elif self._steps:
            self._spare(self._steps - 1)

    def passed(self, seconds: float) -> bool:
        """The engine served for so long. True when `size` has grown."""
        if self.size >= self._ceiling:
            return False
        self._quiet_s += seconds
        if self._quiet_s < _QUIET_S:
            return False
        self._quiet_s = 0.0
        self.size = min(self._ceiling, self.size + max(1, self.size // 4))
        return True

    def _spare(self, steps: int) -> None:
        self._steps = min(steps, MAX_STEPS)
        self._engine.spare_memory(self._steps)
        metrics.MEMORY_STEPS.set(self._steps)
