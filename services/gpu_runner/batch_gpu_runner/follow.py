"""How many requests suit the engine, from what it says of itself.

An engine with nothing waiting may have to idle, and a long queue inside it helps nobody: what waits
there is lost when it dies, runs out of its time, and cannot be cancelled cheaply. So the window
leaves a short queue beside what is computed. A queue must last to count: an engine that has just
been handed many prompts takes them up one after another.
"""

from typing import Final

import msgspec

from batch_gpu_runner.engines.base import EngineLoad

# Waiting requests that are worth having: a quarter of those that run, and a few at least.
_SHARE: Final = 4
_FEW: Final = 4
# Looks in a row that must find a long queue.
_LASTING: Final = 3
# From here on further requests only push others out of the KV cache.
_CACHE_FULL: Final = 0.95


class Following(msgspec.Struct, frozen=True):
    """`size`: requests that may be at the engine.

    says: whether it has ever said anything
    crowded: looks in a row with a long queue; running: the most that ran at once during those
    """

    size: int
    says: bool = False
    crowded: int = 0
    running: int = 0


def follow(now: Following, load: EngineLoad | None, in_flight: int, ceiling: int) -> Following:
    """One look later. An engine that never says anything gets `ceiling`, and none gets more."""
    if load is None or load.waiting is None or load.running is None:
        return now if now.says else Following(ceiling)
    size = min(now.size, ceiling)
    spare = max(_FEW, load.running // _SHARE)
    if load.waiting > 2 * spare:
        return _crowded(now, load, size)
    is_short = load.waiting < spare and in_flight >= size
    has_room = load.kv_cache_usage is None or load.kv_cache_usage < _CACHE_FULL
    if is_short and has_room:
        size += max(1, size // _SHARE)
    return Following(min(size, ceiling), says=True)


def _crowded(now: Following, load: EngineLoad, size: int) -> Following:
    running = max(now.running, load.running or 0)
    if now.crowded + 1 < _LASTING:
        return Following(size, True, now.crowded + 1, running)
    return Following(max(1, min(size, running + max(_FEW, running // _SHARE))), says=True)
