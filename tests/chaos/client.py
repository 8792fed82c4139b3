"""A user's program: it asks again when the API does not answer, as the official client does."""

import asyncio
import time
from typing import Any

import httpx

_ATTEMPT_S = 10.0
_PAUSE_S = 0.3
# 507: people make room, and hand in again.
_PASSING = frozenset({408, 409, 429, 507})


class NoAnswerError(AssertionError):
    """The API did not come back within the time that a fault may take."""


class Client:
    """One tenant's. Every answer that comes tells that the API was there: `answered_at`."""

    def __init__(self, url: str, key: str, patience_s: float = 60.0) -> None:
        self._http = httpx.AsyncClient(
            base_url=f"{url}/v1",
            headers={"authorization": f"Bearer {key}"},
            timeout=_ATTEMPT_S,
        )
        self._patience_s = patience_s
        self.answered_at: list[float] = []

    async def ask(self, method: str, path: str, key: str = "", **what: Any) -> httpx.Response:
        """The first answer that is not a passing fault. `key`: makes a POST safe to repeat."""
        headers = {"idempotency-key": key} if key else {}
        deadline = time.monotonic() + self._patience_s
        while True:
            answer = await self.try_once(method, path, headers=headers, **what)
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                raise NoAnswerError(f"{method} {path}: none within {self._patience_s:.0f} s")
            await asyncio.sleep(_PAUSE_S)

    async def try_once(self, method: str, path: str, **what: Any) -> httpx.Response | None:
        """None for a passing fault."""
        try:
            answer = await self._http.request(method, path, **what)
        except httpx.TransportError:
            return None
        if _is_passing(answer):
            return None
        self.answered_at.append(time.time())
        return answer

    async def close(self) -> None:
        await self._http.aclose()


def _is_passing(answer: httpx.Response) -> bool:
    wished = answer.headers.get("x-should-retry")
    if wished and answer.status_code != 507:
        return wished == "true"
    return answer.status_code in _PASSING or answer.status_code >= 500


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """Of an answer that must be good."""
    assert answer.status_code == 200, f"{answer.request.url}: {answer.status_code} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found
