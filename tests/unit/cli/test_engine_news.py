"""What `up` tells of engines, from runners' logs."""

import json
from pathlib import Path

import pytest

from batch_cli.standalone.programs import Program
from batch_cli.standalone.report import EngineNews, Report


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "runner-2.log"
    path.write_text('{"event": "engine_died", "why": "in an earlier run"}\n')
    return path


def write(log: Path, **record: object) -> None:
    with log.open("a") as file:
        file.write(json.dumps({"level": "info", **record}) + "\n")


def make(log: Path, *, named: bool = False) -> EngineNews:
    program = Program(name="runner-2", command=(), environment={}, log=log)
    return EngineNews(program, Report(), named=named)


def told(news: EngineNews, capsys: pytest.CaptureFixture[str], *, serving: bool) -> list[str]:
    news.tell(serving=serving)
    return [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]


def test_a_first_start(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    news = make(log)
    write(log, event="engine_starting", engine="sim", models=["a", "b"])
    write(log, event="engine_still_starting", elapsed_s=10.2, says="reading\nweights")
    write(log, event="engine_started", models=["a"], took_s=11)
    assert told(news, capsys, serving=False) == [
        "loading a, b with sim",
        "still loading after 10 s: reading weights",
    ]
    assert told(news, capsys, serving=False) == []


def test_a_death_and_a_new_start(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    news = make(log, named=True)
    write(log, event="engine_died", why="killed by SIGKILL", cause="engine_crashed")
    write(log, event="engine_start_failed", error="no memory", again_in_s=2.0)
    write(log, event="engine_started", models=["a"], took_s=1.23)
    write(log, event="engine_down", why="the engine does not start again")
    assert told(news, capsys, serving=True) == [
        "runner-2: the engine died and is started again: killed by SIGKILL",
        "runner-2: the engine did not start, again in 2 s: no memory",
        "runner-2: a is served again, after 1.2 s of loading",
        "runner-2: the engine does not start again",
    ]


def test_a_log_that_was_put_aside_is_read_from_its_start(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    news = make(log)
    log.rename(log.with_name("runner-2.log.previous"))
    assert told(news, capsys, serving=True) == []
    write(log, event="engine_died", why="x")
    assert told(news, capsys, serving=True) == ["the engine died and is started again: x"]


def test_a_line_that_is_not_whole_yet_waits(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    news = make(log)
    with log.open("a") as file:
        file.write('{"event": "engine_died", ')
    assert told(news, capsys, serving=True) == []
    with log.open("a") as file:
        file.write('"why": "w"}\nno json\n')
    assert told(news, capsys, serving=True) == ["the engine died and is started again: w"]
