"""Label Studio's HTTP API, and in plain words what goes wrong with it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec

from batch_sinks.label_studio.refusal import refusal
from batch_sinks.label_studio.target import Target
from batch_sinks.label_studio.token import Token
from batch_sinks.sink import DeliveryError
from batch_sinks.storable import storable_json

_JSON: Final = {"content-type": "application/json"}


class Client:
    """One call of the handler's. Its errors are DeliveryErrors that never hold the key."""

    def __init__(self, target: Target, session: aiohttp.ClientSession, timeout_s: float) -> None:
        self._target = target
        self._session = session
        self._timeout_s = timeout_s
        self._token = Token(target.key, self._buy)

    async def ask(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> Any:
        """The decoded answer, None for an empty one. MissingError: there is no such thing."""
        data = None if body is None else storable_json(body)
        status, answer = await self._send(method, path, data, query)
        if status == 401 and self._token.renew():
            status, answer = await self._send(method, path, data, query)
        return self._decoded(status, answer, f"{method} {path}")

    async def _send(
        self, method: str, path: str, data: bytes | None, query: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        headers = {"authorization": await self._token.header()} | (_JSON if data else {})
        return await self._exchange(method, path, data=data, params=query, headers=headers)

    async def _buy(self, key: str) -> str:
        data = msgspec.json.encode({"refresh": key})
        path = "api/token/refresh/"
        status, answer = await self._exchange("POST", path, data=data, headers=_JSON)
        access = self._decoded(status, answer, "the API key")
        return str(access["access"])

    async def _exchange(self, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        try:
            async with self._session.request(
                method, self._target.url / path, allow_redirects=False, **more
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            raise DeliveryError(
                f"{self._target.name} did not answer {method} {path} within {self._timeout_s:g} s: "
                "look at its load, or raise result_handlers.label_studio.timeout_s"
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise DeliveryError(
                f"{self._target.name} cannot be reached: is it running, and is its URL right? "
                f"({error})"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise DeliveryError(
                f"{self._target.name} broke off {method} {path} ({type(error).__name__}): it may "
                "have been restarted; its log says more"
            ) from None

    def _decoded(self, status: int, answer: bytes, what: str) -> Any:
        if not 200 <= status < 300:
            raise refusal(self._target, status, answer, what)
        try:
            return msgspec.json.decode(answer) if answer else None
        except msgspec.DecodeError:
            raise DeliveryError(
                f"{self._target.name} answered {what} with something else than JSON: is it Label "
                "Studio that is at that URL?"
            ) from None


@asynccontextmanager
async def open_client(target: Target, timeout_s: float) -> AsyncIterator[Client]:
    """`timeout_s` is for each request. No cookies: a session would go before the key."""
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Client(target, session, timeout_s)
