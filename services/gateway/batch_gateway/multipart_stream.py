"""multipart/form-data as it arrives: one part after the other, never a whole one in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, TypeAlias

from litestar import Request
from multipart import MultipartSegment, PushMultipartParser, parse_options_header

from batch_gateway.body_digest import BodyDigest
from batch_gateway.errors import ApiError, ClientGoneError, too_large

PIECE_BYTES: Final = 1 << 20
_MAX_TEXT: Final = 4096
_MAX_PARTS: Final = 32
# A client that sends nothing for this long is gone.
_IDLE_S: Final = 60.0
# What the form around a file may add to its size.
_FORM_BYTES: Final = 64 << 10

Event: TypeAlias = MultipartSegment | bytes | None


class FormPart:
    """One field or file. Read it before asking for the next one."""

    def __init__(
        self, segment: MultipartSegment, events: AsyncIterator[Event], digest: BodyDigest
    ) -> None:
        self.name: str = segment.name or ""
        self.filename: str | None = segment.filename
        self._events = events
        self._digest = digest
        self._done = False
        digest.begin_part(self.name, self.filename)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, in pieces of about 1 MiB."""
        waiting: list[bytes] = []
        size = 0
        while (event := await self._next()) is not None:
            waiting.append(event)
            size += len(event)
            if size >= PIECE_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
        if waiting:
            yield b"".join(waiting)

    async def text(self) -> str:
        """A field's value. Raises ApiError when it is long or not UTF-8."""
        value = b""
        async for piece in self.pieces():
            value += piece
            if len(value) > _MAX_TEXT:
                raise ApiError(400, f"The form field '{self.name}' is too long.", param=self.name)
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise ApiError(400, f"The form field '{self.name}' is not UTF-8.") from error

    async def skip(self) -> None:
        """Passes over what was not read."""
        while await self._next() is not None:
            pass

    async def _next(self) -> bytes | None:
        if self._done:
            return None
        event = await anext(self._events, None)
        if event is None:
            self._done = True
            self._digest.end_part()
        else:
            self._digest.feed(event)
        return event


async def read_form(
    request: Request[Any, Any, Any], most_bytes: int, digest: BodyDigest
) -> AsyncIterator[FormPart]:
    """The parts of a request's form, in order, each fed to `digest` as it is read.

    `most_bytes` bounds the file within it: a request that announces more is refused unread.
    Raises ApiError, MultipartError; ClientGoneError when the body ends too early.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise ApiError(400, "The body of this request must be multipart/form-data.")
    if (request.content_length or 0) > most_bytes + _FORM_BYTES:
        raise too_large()
    events = _events(_body(request), options["boundary"])
    async for event in events:
        if isinstance(event, MultipartSegment):
            part = FormPart(event, events, digest)
            yield part
            await part.skip()
    digest.end_form()


async def limited(pieces: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[bytes]:
    """The same pieces. Raises ApiError once they add up to more than `most_bytes`."""
    seen = 0
    async for piece in pieces:
        seen += len(piece)
        if seen > most_bytes:
            raise too_large()
        yield piece


async def _events(body: AsyncIterator[bytes], boundary: str) -> AsyncIterator[Event]:
    with PushMultipartParser(boundary, max_segment_count=_MAX_PARTS) as parser:
        async for piece in body:
            for event in parser.parse(piece):
                yield event


async def _body(request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
    more = True
    while more:
        try:
            async with asyncio.timeout(_IDLE_S):
                message = await request.receive()
        except TimeoutError as error:
            raise ApiError(408, f"The client sent nothing for {_IDLE_S:.0f} s.") from error
        if message["type"] != "http.request":
            raise ClientGoneError
        more = message.get("more_body", False)
        if message["body"]:
            yield message["body"]
