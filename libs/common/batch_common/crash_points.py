"""Named places around everything a process makes durable or lets go of.

The adapters announce them: `commit <what>` (db), `put <kind>` and `delete <kind>` (blobs),
`publish <event>`, `ask <subject>` and `answer <subject>` (bus), `ack <stream>` and `nak <stream>`
(pull). A process that dies at one of them, on either side, loses nothing and does nothing twice;
tests install a hook that kills it, delays it or raises there. Without a hook a place costs a
comparison.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum


class Side(StrEnum):
    """Before the step, or after it succeeded and before anyone was told."""

    BEFORE = "before"
    AFTER = "after"


Hook = Callable[[str, Side], Awaitable[None]]

_hook: Hook | None = None


def install(hook: Hook | None) -> None:
    """Calls `hook` with each place that is passed; what it raises comes out of the step."""
    global _hook  # noqa: PLW0603 - one hook for the process
    _hook = hook


async def before(name: str) -> None:
    """The step `name` is about to be made."""
    if _hook is not None:
        await _hook(name, Side.BEFORE)


async def after(name: str) -> None:
    """The step `name` was made."""
    if _hook is not None:
        await _hook(name, Side.AFTER)
