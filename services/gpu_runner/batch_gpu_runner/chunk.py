"""A held chunk: its lines, what is still to be sent, what came back."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

import msgspec

from batch_common.errors import PermanentError
from batch_common.events import ChunkReady
from batch_common.formats.plan import Index
from batch_common.formats.request import REQUEST_DECODER
from batch_common.formats.result import ResultLine, encode_result, result_id
from batch_common.formats.segment import Record
from batch_common.logs import get_log
from batch_gpu_runner.rates import Rates
from batch_gpu_runner.request import Result
from batch_gpu_runner.response_format import ResponseFormat
from batch_gpu_runner.segments import SegmentWriter

log = get_log(__name__)


class PlanDamagedError(PermanentError):
    """The planned input and its index do not fit together."""


class Ending(Enum):
    """How a chunk's stay in this runner ends."""

    FINISHED = "finished"
    # The scheduler wants no more of it: cancelled, expired, settled.
    STOPPED = "stopped"
    # This runner is leaving.
    DRAINED = "drained"
    # Another attempt has it, or may have: we were not heard of for longer than `ack_wait`.
    LOST = "lost"
    # Its plan cannot be read.
    DAMAGED = "damaged"


class Request(msgspec.Struct, frozen=True, eq=False):
    """One line as it is sent.

    attempt: counts from 1
    deaths: engines that died while it was in flight; alone: those it had to itself
    """

    chunk: "Chunk"
    position: int
    custom_id: str
    body: bytes
    attempt: int = 1
    deaths: int = 0
    alone: int = 0

    @property
    def line(self) -> int:
        """Its position in the planned input."""
        return self.chunk.ready.first_line + self.position


class Lines:
    """The bytes of a chunk's lines; positions count from 0 within the chunk."""

    def __init__(
        self, ready: ChunkReady, data: bytes, index: Index, form: ResponseFormat | None = None
    ) -> None:
        """`form`: of answers, where a request says nothing of it. Raises PlanDamagedError."""
        lengths = index["length"].astype("int64")
        if len(index) != ready.end_line - ready.first_line or int(lengths.sum()) != len(data):
            raise PlanDamagedError(
                f"the plan of {ready.batch_id} is damaged: lines {ready.first_line} to "
                f"{ready.end_line} of {ready.input_key} do not fit {ready.index_key}; "
                "cancel the batch and create it again"
            )
        self._data = data
        self._form = form
        self._ends: list[int] = lengths.cumsum().tolist()
        self._numbers: list[int] = index["line"].tolist()

    def __len__(self) -> int:
        return len(self._ends)

    def forget(self) -> None:
        """No request is made from here any more: frees the bytes, keeps the numbers."""
        self._data = b""

    def number(self, position: int) -> int:
        """The number the line has in the user's file, counted from 1."""
        return self._numbers[position]

    def request(self, chunk: "Chunk", position: int) -> Request:
        """Raises PlanDamagedError."""
        start = self._ends[position - 1] if position else 0
        try:
            line = REQUEST_DECODER.decode(self._data[start : self._ends[position]])
            body = bytes(line.body)
            if self._form is not None:
                body = self._form.lay_into(body)
        except msgspec.MsgspecError as error:
            raise PlanDamagedError(
                f"line {self.number(position)} of {chunk.ready.batch_id} cannot be read from its "
                f"plan ({error}); cancel the batch and create it again"
            ) from error
        return Request(chunk, position, line.custom_id, body)


class Chunk:
    """One chunk in this runner's hands. Fed by the window, saved by its SegmentWriter."""

    def __init__(
        self,
        ready: ChunkReady,
        lines: Lines,
        has: bytearray,
        segments: SegmentWriter,
        rates: Rates,
        on_sent: Callable[[], None],
    ) -> None:
        """`has`: a byte for each line, 1 where an earlier attempt saved its result.

        `on_sent` is called once, when the last line has been taken.
        """
        self.ready = ready
        self.attempt = segments.attempt
        self.segments = segments
        self.lost = False
        self.closed = False
        # Of engines with requests of this chunk in flight, over all attempts.
        self.deaths = 0
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._lines = lines
        self._has = has
        self._rates = rates
        self._on_sent = on_sent
        self._left = has.count(0)
        self._unsent: Iterator[int] = iter([at for at, done in enumerate(has) if not done])
        self._end_if_finished()

    def take(self) -> Request | None:
        """The next request to send; None when there is none now."""
        if self.closed or self.segments.is_full:
            return None
        position = next(self._unsent, None)
        if position is None:
            self._sent()
            return None
        return self._request(position)

    def take_lines(self, lines: Iterable[int]) -> list[Request]:
        """The requests of these lines of the planned input, as far as they have no result yet.

        `take` does not give them any more.
        """
        ours = (line - self.ready.first_line for line in lines)
        wanted = [at for at in ours if 0 <= at < len(self._has) and not self._has[at]]
        taken = set(wanted)
        self._unsent = iter([at for at in self._unsent if at not in taken])
        return [each for at in wanted if (each := self._request(at)) is not None]

    def _request(self, position: int) -> Request | None:
        try:
            return self._lines.request(self, position)
        except PlanDamagedError as error:
            log.warning("plan_damaged", chunk=self.ready.chunk, error=str(error))
            self.end(Ending.DAMAGED)
            self.closed = True
            return None

    def _sent(self) -> None:
        self._lines.forget()
        on_sent, self._on_sent = self._on_sent, _nothing
        on_sent()

    def add(self, request: Request, result: Result) -> None:
        """The first result of a line counts; after `closed` none does."""
        position = request.position
        if self.closed or self._has[position]:
            return
        self._has[position] = 1
        self._left -= 1
        usage = result.usage
        self._rates.add(usage.input_tokens + usage.output_tokens if usage else 0)
        data = encode_result(self._result_line(request, result))
        self.segments.add(Record(request.line, result.succeeded, data, usage))
        self._end_if_finished()

    def _result_line(self, request: Request, result: Result) -> ResultLine:
        name = result_id(self.ready.batch_id, self._lines.number(request.position))
        return ResultLine(name, request.custom_id, result.response(name), result.error)

    def _end_if_finished(self) -> None:
        if not self._left:
            self.end(Ending.FINISHED)

    def end(self, ending: Ending) -> None:
        """The first ending counts; `lost` is remembered besides, since it forbids settling."""
        self.lost = self.lost or ending is Ending.LOST
        if not self.ended.done():
            self.ended.set_result(ending)


def _nothing() -> None:
    """Called once already."""
