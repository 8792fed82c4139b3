"""Handlers that cannot be made are found out before anything starts."""

import asyncio
from pathlib import Path

import pytest

from batch_cli.main import main
from batch_common import config as settings
from batch_common.db import open_database
from batch_common.migrate import migrate
from support.command_line import vllm_batch

PACKAGE = """
from batch_sinks import ResultHandler
class Good(ResultHandler):
    def handle(self, batch_id, results, metadata):
        return True
class Bad(Good):
    def __init__(self, token):
        raise OSError(token)
"""


def config(folder: Path, handlers: str) -> str:
    (folder / "our_checked_handlers.py").write_text(PACKAGE)
    path = folder / "config.yml"
    path.write_text(f"result_handlers: {{folder: {folder}, {handlers}}}")
    return str(path)


def custom(handler: str, options: str = "{}") -> str:
    return f"enabled: [mine], custom: {{mine: {{handler: '{handler}', options: {options}}}}}"


WRONG = {
    "enabled: [webhok]": "'webhok', which is no handler: choose from",
    "enabled: [webhook], webhook: {url: example.com}": "of the form https://host/path",
    "enabled: [postgres], postgres: {url: 'mysql://h/n'}": "of the form postgresql://",
    custom("our_checked_handlers"): "nor of the form MODULE:CLASS",
    custom("our_checked_handlers:Godo"): "has no attribute 'Godo'",
    custom("our_checked_handlers:Bad", "{token: hunter2}"): "could not be made from its options",
    custom("our_checked_handlers:Good", "{a: b}"): "unexpected keyword argument 'a'; it takes none",
}


@pytest.mark.parametrize("handlers", WRONG)
async def test_a_wrong_setting_is_named(
    handlers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sinks", "check", "--config", config(tmp_path, handlers)]
    assert await asyncio.to_thread(main, words) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert WRONG[handlers] in said
    assert "hunter2" not in said


async def test_what_is_right_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = custom("our_checked_handlers:Good").replace("[mine]", "[mine, webhook]")
    path = config(tmp_path, f"{handlers}, webhook: {{url: 'https://example.com/'}}")
    assert await asyncio.to_thread(main, ["sinks", "--config", path, "check"]) == 0
    assert capsys.readouterr().out.splitlines() == ["mine: ok", "webhook: ok"]


def test_up_starts_nothing_then(tmp_path: Path) -> None:
    path = config(tmp_path, custom("our_checked_handlers:Bad", "{token: hunter2}"))
    data = tmp_path / "data"
    where = ("--data-dir", str(data), "--port", "0", "--config", path)
    done = vllm_batch("up", *where, "--engine", "sim", "--model", "sim=sim", within_s=60)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: result_handlers.custom.mine: Bad could")
    assert "hunter2" not in done.stderr
    assert list((data / "logs").iterdir()) == []


async def test_a_redrive_of_nothing_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = open_database(settings.Database(), tmp_path)
    await migrate(database)
    await database.close()
    words = ["sinks", "redrive", "--data-dir", str(tmp_path)]
    assert await asyncio.to_thread(main, words) == 0
    assert capsys.readouterr().err == "nothing waits, and nothing was given up\n"
