"""Which request is sent next: from the chunks held, and those whose retry is due."""

import heapq
import itertools
from collections import deque

from batch_gpu_runner.chunk import Chunk, Request


class Feed:
    """Models take turns; within a model the chunk that came first is served first.

    So a model's later chunk fills the window while the last answers of the one before are
    awaited, and no model waits for another's chunk to end.
    """

    def __init__(self) -> None:
        self._lanes: deque[list[Chunk]] = deque()
        self._retries: list[tuple[float, int, Request]] = []
        self._order = itertools.count()

    def add(self, chunk: Chunk) -> None:
        for lane in self._lanes:
            if lane[0].ready.model == chunk.ready.model:
                lane.append(chunk)
                return
        self._lanes.append([chunk])

    def drop(self, chunk: Chunk) -> None:
        """Forgets the chunk and its retries; one that is not here is fine."""
        left = ([each for each in lane if each is not chunk] for lane in self._lanes)
        self._lanes = deque(lane for lane in left if lane)
        self._retries = [entry for entry in self._retries if entry[2].chunk is not chunk]
        heapq.heapify(self._retries)

    def later(self, request: Request, due: float) -> None:
        """Not before `due`, in the time that `take` is given."""
        heapq.heappush(self._retries, (due, next(self._order), request))

    @property
    def has_retries(self) -> bool:
        return bool(self._retries)

    def take_due(self, now: float) -> Request | None:
        """A request whose retry is due."""
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        return None

    def take(self) -> Request | None:
        """The next line of the model whose turn it is, or of the others."""
        for _ in range(len(self._lanes)):
            lane = self._lanes[0]
            self._lanes.rotate(-1)
            for chunk in lane:
                if (request := chunk.take()) is not None:
                    return request
        return None
