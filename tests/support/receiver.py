"""A real HTTP server that receives webhooks and may be told to behave badly."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from support.ports import free_port


class Post(msgspec.Struct, frozen=True):
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """Answers what `answer` returns for each POST, once `before_answer` is over.

    None: it never answers.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.posts: list[Post] = []
        self.answer: Callable[[Post], web.Response | None] = lambda _: self.plain(200)
        self.before_answer: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        self._runner: web.AppRunner | None = None

    @staticmethod
    def plain(status: int, **headers: str) -> web.Response:
        return web.Response(status=status, headers=headers)

    @staticmethod
    def broken() -> web.Response:
        """Not HTTP: the exchange ends in a protocol error."""
        return _Broken()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        post = Post(request.path, headers, await request.read())
        self.posts.append(post)
        await self.before_answer()
        answer = self.answer(post)
        if answer is None:
            await asyncio.Event().wait()
        return answer or self.plain(200)


class _Broken(web.Response):
    async def prepare(self, request: web.BaseRequest) -> None:
        assert request.transport is not None
        request.transport.write(b"this is not HTTP\r\n\r\n")
        request.transport.close()
