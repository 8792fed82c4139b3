"""A TCP proxy that a test can cut, silence or slow down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_PIECE: Final = 1 << 16


class TcpProxy:
    """Between clients that connect to `port` and a server on loopback.

    `silent`: connections stay, and are accepted, but nothing passes: what a lost network looks
    like from both ends. What was sent meanwhile arrives afterwards, as TCP has it.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._flows: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self.delay_s = 0.0
        self.port = 0
        # Connections accepted so far, and bytes passed on in both directions.
        self.accepted = 0
        self.passed = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._flows)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop()

    async def cut(self) -> int:
        """Breaks every connection at once; new ones are fine. Returns how many there were."""
        return await self._drop()

    def silence(self) -> None:
        self._open.clear()

    def restore(self) -> None:
        self._open.set()
        self.delay_s = 0.0

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        self.silence()
        try:
            yield
        finally:
            self.restore()

    async def _drop(self) -> int:
        flows = list(self._flows)
        for flow in flows:
            flow.cancel()
        await asyncio.gather(*flows, return_exceptions=True)
        return len(flows)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        flow = asyncio.create_task(self._flow(reader, writer))
        self._flows.add(flow)
        flow.add_done_callback(self._flows.discard)

    async def _flow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._open.wait()
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", self._target_port)
                try:
                    await self._both_ways((reader, writer), there)
                finally:
                    there[1].transport.abort()
        finally:
            writer.transport.abort()

    async def _both_ways(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Ends with the first direction that ends."""
        ways = [
            asyncio.create_task(self._pump(here[0], there[1])),
            asyncio.create_task(self._pump(there[0], here[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            await self._open.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            writer.write(piece)
            await writer.drain()
            self.passed += len(piece)
