"""The window follows the engine's own queue."""

import pytest

from batch_gpu_runner.engines.base import EngineLoad
from batch_gpu_runner.follow import Following, follow


class Engine:
    """Computes `capacity` at once; the rest of what is in flight waits."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity

    def load(self, in_flight: int) -> EngineLoad:
        running = min(in_flight, self.capacity)
        return EngineLoad(in_flight - running, running, running / self.capacity * 0.9)


def after(engine: Engine, looks: int, start: int, ceiling: int) -> int:
    """The window is always full."""
    now = Following(start)
    for _ in range(looks):
        now = follow(now, engine.load(now.size), now.size, ceiling)
    return now.size


@pytest.mark.parametrize("capacity", [1, 8, 30, 100])
def test_a_long_queue_inside_the_engine_is_cut_short(capacity: int) -> None:
    size = after(Engine(capacity), looks=20, start=320, ceiling=320)
    assert capacity < size <= capacity + max(8, capacity)


def test_an_engine_that_computes_more_gets_more_again() -> None:
    assert after(Engine(200), looks=40, start=16, ceiling=320) > 200


def test_never_more_than_the_ceiling() -> None:
    assert after(Engine(1000), looks=40, start=16, ceiling=64) == 64
    assert follow(Following(64, says=True), Engine(1000).load(64), 64, 32).size == 32


def test_a_queue_that_does_not_last_is_none() -> None:
    """An engine that was just handed many prompts takes them up one after another."""
    now = Following(256)
    for running in (10, 120):
        now = follow(now, EngineLoad(256 - running, running, 0.3), 256, 256)
    now = follow(now, EngineLoad(16, 240, 0.6), 256, 256)
    assert now.size == 256


def test_a_full_cache_is_no_reason_for_more() -> None:
    full = EngineLoad(0, 16, 0.97)
    assert follow(Following(16, says=True), full, 16, 64).size == 16


def test_a_window_that_is_not_full_is_not_made_larger() -> None:
    assert follow(Following(16, says=True), EngineLoad(0, 3, 0.1), 3, 64).size == 16


def test_an_engine_that_never_says_anything_gets_the_ceiling() -> None:
    assert follow(Following(16), None, 16, 64).size == 64


def test_an_engine_that_is_silent_for_once_keeps_its_window() -> None:
    assert follow(Following(16, says=True), None, 16, 64).size == 16
