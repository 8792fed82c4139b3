"""The wall clock, in one place so that tests can step it."""

import time


def now() -> float:
    """Unix seconds."""
    return time.time()


def timestamp() -> int:
    """Unix seconds as OpenAI's objects carry them."""
    return int(now())
