"""Waiting for conditions, never for time."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    *,
    within_s: float = 30,
    what: str = "the condition",
) -> None:
    """Returns once `condition` holds; fails the test after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        result = condition()
        if result if isinstance(result, bool) else await result:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within_s} s")
        await asyncio.sleep(0.02)
