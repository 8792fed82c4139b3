"""Which requests may have killed the engine.

When the engine dies, whatever was in flight is suspect, over all chunks. Suspects are tried again
in halves, apart from everything else: a group that the engine survives is acquitted, one that
kills it is halved, and a request that still kills it alone is convicted. So one such request costs
log2(requests in flight) + 2 deaths at most: all of them, each half, and one to confirm.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from batch_common.formats.result import LineError
from batch_gpu_runner.chunk import Chunk, Request
from batch_gpu_runner.death import Death

# Deaths under a request that was alone in flight, each in an engine that had just answered a
# request of ours. One proves nothing: engines also die of other things.
_ALONE: Final = 2
# Of an engine that somebody else may have killed.
_ALONE_OUTSIDE: Final = 3
# From the second death on it is no accident, so the half that is left over is guilty.
_NO_ACCIDENT: Final = 2


class Group(msgspec.Struct):
    """Requests that are tried together.

    requests: those not sent yet; sent: whether any was
    has_twin: the next group is the other half of what killed the engine
    """

    requests: deque[Request]
    has_twin: bool = False
    sent: bool = False


class Convicted(msgspec.Struct, frozen=True):
    request: Request
    error: LineError


class Suspects:
    """The groups still to be tried; the first is on trial."""

    def __init__(self) -> None:
        self._groups: deque[Group] = deque()

    def __len__(self) -> int:
        return sum(len(group.requests) for group in self._groups)

    @property
    def on_trial(self) -> bool:
        """While this holds, nothing but what `take()` gives may be sent."""
        return bool(self._groups)

    def add(self, groups: Iterable[Group]) -> None:
        """Those that an earlier attempt has left, after all others."""
        self._groups.extend(groups)

    def engine_died(self, in_flight: list[Request], death: Death) -> Convicted | None:
        """Records what was in flight. Returns the request that is now convicted, if any."""
        alone = int(len(in_flight) == 1)
        died = [
            msgspec.structs.replace(each, deaths=each.deaths + 1, alone=each.alone + alone)
            for each in in_flight
        ]
        for chunk in dict.fromkeys(each.chunk for each in in_flight):
            chunk.deaths += 1
        if self._groups and self._groups[0].sent and not self._groups[0].requests:
            self._groups.popleft()
        needed = _ALONE_OUTSIDE if death.maybe_outside else _ALONE
        if died and died[0].alone >= needed:
            return Convicted(died[0], death.of_request())
        self._halve(died)
        return None

    def take(self, *, idle: bool) -> Request | None:
        """The next of the group on trial; None when all of it is in flight.

        A group begins when the engine is `idle`: what else is in flight would share its fate.
        """
        if not self._groups or not self._groups[0].requests:
            return None
        group = self._groups[0]
        if not group.sent and not idle:
            return None
        group.sent = True
        return group.requests.popleft()

    def survived(self) -> None:
        """Nothing is in flight: a group that has been sent wholly is acquitted."""
        while self._groups and not self._groups[0].requests:
            has_twin = self._groups.popleft().has_twin
            if has_twin and self._groups:
                self._accuse(self._groups[0])

    def drop(self, chunk: Chunk) -> None:
        """Forgets a chunk's requests."""
        for group in self._groups:
            group.requests = deque(each for each in group.requests if each.chunk is not chunk)

    def chunks(self) -> list[Chunk]:
        """Those with requests here."""
        return list({each.chunk: None for group in self._groups for each in group.requests})

    def of(self, chunk: Chunk) -> list[Group]:
        """Its share of the groups, in the order in which they are tried."""
        shares: list[Group] = []
        twin_of_last = False
        for group in self._groups:
            mine = deque(each for each in group.requests if each.chunk is chunk)
            if shares and not (twin_of_last and mine):
                shares[-1].has_twin = False
            twin_of_last = group.has_twin and bool(mine)
            if mine:
                shares.append(Group(mine, group.has_twin))
        return shares

    def _accuse(self, twin: Group) -> None:
        """The first half survived what both together did not: spare the trial of the second."""
        if len(twin.requests) > 1 and all(r.deaths >= _NO_ACCIDENT for r in twin.requests):
            self._groups.popleft()
            self._halve(list(twin.requests))

    def _halve(self, requests: list[Request]) -> None:
        middle = (len(requests) + 1) // 2
        halves = [half for half in (requests[:middle], requests[middle:]) if half]
        for at, half in reversed(list(enumerate(halves, start=1))):
            self._groups.appendleft(Group(deque(half), has_twin=at < len(halves)))
