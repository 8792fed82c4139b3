"""Faults that come and go with the simulated server's fault file."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from batch_gpu_runner.engines.base import (
    CHAT,
    Engine,
    EngineConnectionError,
    EngineStartError,
    EngineTimeoutError,
)
from support.engines import MakeEngine
from support.faults import order
from support.wait import until

BODY = msgspec.json.encode({"model": "sim", "messages": [{"role": "user", "content": "hi"}]})


async def ask(engine: Engine, timeout_s: float = 5.0) -> int:
    return (await engine.post(CHAT, BODY, timeout_s)).status


def logged(path: Path) -> list[tuple[int, str | None]]:
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return [(line["status"], line.get("fault")) for line in lines]


async def test_each_fault_while_it_is_ordered(make_engine: MakeEngine, tmp_path: Path) -> None:
    faults, log = tmp_path / "faults.json", tmp_path / "requests.jsonl"
    engine = make_engine("sim", fault_file=str(faults), request_log=str(log))
    await engine.start()
    assert await ask(engine) == 200
    order(faults, "status", status=429, retry_after_s=1.5)
    answer = await engine.post(CHAT, BODY, 5)
    assert (answer.status, answer.retry_after_s) == (429, 1.5)
    msgspec.json.decode(answer.body)
    order(faults, "status", status=599)
    assert await ask(engine) == 599
    order(faults, "garbage")
    garbage = await engine.post(CHAT, BODY, 5)
    assert garbage.status == 200
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        msgspec.json.decode(garbage.body)
    for mode in ("half_body", "close"):
        order(faults, mode)
        with pytest.raises(EngineConnectionError):
            await ask(engine)
    order(faults, "hang")
    with pytest.raises(EngineTimeoutError):
        await ask(engine, timeout_s=0.3)
    order(faults, "none")
    assert await ask(engine) == 200
    faults.unlink()
    assert await ask(engine) == 200
    await engine.stop()
    seen = logged(log)
    assert (seen[0], seen[-2:]) == ((200, None), [(200, None)] * 2)
    faulty = [each for each in seen if each[1] is not None]
    # A request whose connection was closed at once is sent a second time by the client itself.
    assert list(dict.fromkeys(faulty)) == [
        (429, "status"),
        (599, "status"),
        (200, "garbage"),
        (200, "half_body"),
        (0, "close"),
        (0, "hang"),
    ]


async def test_only_a_share_is_met(make_engine: MakeEngine, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    order(faults, "status", status=503, rate=0.5)
    engine = make_engine("sim", fault_file=str(faults))
    await engine.start()
    statuses = [await ask(engine) for _ in range(200)]
    assert 40 < statuses.count(503) < 160
    assert set(statuses) == {200, 503}
    await engine.stop()


async def test_an_engine_that_dies_and_cannot_start_again(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    faults, log = tmp_path / "faults.json", tmp_path / "requests.jsonl"
    engine = make_engine("sim", fault_file=str(faults), request_log=str(log))
    await engine.start()
    order(faults, "no_start")
    assert await ask(engine) == 200
    order(faults, "die")
    with pytest.raises(EngineConnectionError):
        await ask(engine)
    assert "CUDA error" in await asyncio.wait_for(engine.died(), 10)
    assert logged(log)[-1] == (0, "die")
    order(faults, "no_start")
    with pytest.raises(EngineStartError, match="initialization failed"):
        await engine.start()
    order(faults, "none")
    await engine.start()
    assert await ask(engine) == 200
    await engine.stop()


async def test_a_file_that_cannot_be_read_is_said_and_is_no_fault(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('{"mode": "explode"}')
    engine = make_engine("sim", fault_file=str(faults))
    await engine.start()
    assert await ask(engine) == 200
    [output] = tmp_path.rglob("*.log")
    await until(lambda: "explode" in output.read_text(), what="the complaint")
    await engine.stop()
