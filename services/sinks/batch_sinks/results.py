"""The results of one batch as a stream that can be read again, never as a list."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from batch_common.blobs import BlobStore
from batch_common.formats.content import Part
from batch_common.task_schema import TaskSchema
from batch_sinks.json_line import decode_line
from batch_sinks.planned import Planned, Range

if TYPE_CHECKING:
    from batch_sinks.answer_check import AnswerCheck


Result = dict[str, Any]


# Small, since the store's client keeps a buffer of this size in each of its threads.
_PIECE_BYTES: Final = 256 << 10


class CallEndedError(Exception):
    """The call that these results were given to has run out of its time."""


class ChunkResults(msgspec.Struct, frozen=True):
    """What one chunk has come to: its objects, and where its requests stand."""

    output: Part | None
    errors: Part | None
    requests: Range


class Results:
    """Result dicts in the order of the API's results: `id`, `custom_id`, `response`, `error`,
    and `request`, the line they answer (None when it is not kept any more).

    Iterate as often as you like, with `for` in a synchronous handler and `async for` in an
    asynchronous one. The order is the same each time and in each attempt, so a handler that
    knows how many it has stored goes on with `results.skip(stored)`.

    With a task schema (`schema`), also `answer`, what the model answered: the JSON, decoded, or
    the text of an answer in words (None: no answer, or none that is JSON); and `schema`: `name`,
    `version`, `valid` (None for a request that failed) and `errors`, each with `at`, a JSON
    pointer into the answer, and `message`.
    """

    def __init__(
        self,
        blobs: BlobStore,
        chunks: Sequence[ChunkResults],
        *,
        check: "AnswerCheck | None" = None,
        skipped: int = 0,
        ended: threading.Event | None = None,
    ) -> None:
        self._check = check
        self._blobs = blobs
        self._chunks = chunks
        self._skipped = skipped
        self._ended = ended or threading.Event()

    def skip(self, count: int) -> Self:
        """The same results without the first `count` of these."""
        return type(self)(
            self._blobs,
            self._chunks,
            check=self._check,
            skipped=self._skipped + count,
            ended=self._ended,
        )

    @property
    def schema(self) -> TaskSchema | None:
        """As it was when the batch was created; None for a batch without one."""
        return self._check.schema if self._check else None

    @property
    def output(self) -> "Lines":
        """The bytes of the output file, as the API's download has them."""
        return Lines(self._blobs, [c.output for c in self._chunks if c.output], self._ended)

    @property
    def errors(self) -> "Lines":
        """The bytes of the error file."""
        return Lines(self._blobs, [c.errors for c in self._chunks if c.errors], self._ended)

    def end(self) -> None:
        """Makes every iteration, in whatever thread, raise CallEndedError at its next step."""
        self._ended.set()

    async def __aiter__(self) -> AsyncIterator[Result]:
        async for window in self.windows():
            for result in window:
                yield result

    def __iter__(self) -> Iterator[Result]:
        """For threads without an event loop."""
        if _inside_a_loop():
            raise TypeError("inside a coroutine, iterate over results with `async for`")
        loop = asyncio.new_event_loop()
        windows = self.windows()
        try:
            while (window := loop.run_until_complete(anext(windows, None))) is not None:
                yield from window
        finally:
            loop.run_until_complete(windows.aclose())
            loop.close()

    async def windows(self) -> AsyncGenerator[list[Result], None]:
        """Lists of results, each of about a MiB of lines: for bulk work."""
        left = self._skipped
        for chunk in self._chunks:
            planned = Planned(self._blobs, chunk.requests)
            for part in (chunk.output, chunk.errors):
                async for lines in read_lines(self._blobs, part, self._ended):
                    wanted = lines[left:]
                    left -= len(lines) - len(wanted)
                    if wanted:
                        await planned.load()
                        results = [_result(line, planned) for line in wanted]
                        if self._check is not None:
                            self._check.mark(results)
                        yield results


class Lines:
    """The bytes of one of a batch's files: `bytes` of them; pieces come at most 256 KiB long."""

    def __init__(self, blobs: BlobStore, parts: Sequence[Part], ended: threading.Event) -> None:
        self._blobs = blobs
        self._parts = parts
        self._ended = ended
        self.bytes = sum(part.bytes for part in parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            for start in range(0, part.bytes, _PIECE_BYTES):
                _check(self._ended)
                end = min(start + _PIECE_BYTES, part.bytes)
                yield await self._blobs.get_range(part.key, start, end)


async def read_lines(
    blobs: BlobStore, part: Part | None, ended: threading.Event
) -> AsyncIterator[list[bytes]]:
    """Whole lines without their newlines, as many as about a MiB holds at a time."""
    if part is None:
        return
    rest = b""
    async for piece in blobs.stream(part.key, 0, part.bytes):
        _check(ended)
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _result(line: bytes, planned: Planned) -> Result:
    result: Result = decode_line(line)
    result["request"] = planned.request(result["id"])
    return result


def _check(ended: threading.Event) -> None:
    if ended.is_set():
        raise CallEndedError("the call that these results were given to has ended")


def _inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
