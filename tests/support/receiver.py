"""A real HTTP server that receives webhooks and may be told to behave badly."""

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
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
    """Answers what `answer` returns for each POST; None: it never answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.posts: list[Post] = []
        self.answer: Callable[[Post], web.Response | None] = lambda _: web.Response(status=200)
        self._runner: web.AppRunner | None = None

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
        answer = self.answer(post)
        if answer is None:
            await asyncio.sleep(3600)
            raise aiohttp.ServerDisconnectedError
        return answer
