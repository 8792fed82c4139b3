"""`vllm-batch run`: one file in, one file out, whatever happens between."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest

from support.command_line import begin, family, living, processes_of, vllm_batch
from support.requests import chat_line, jsonl
from support.wait import until

LINES = 400
RATE = 100


def arguments(folder: Path, *more: str, source: str = "in.jsonl") -> tuple[str, ...]:
    files = ("-i", str(folder / source), "-o", str(folder / "out.jsonl"))
    where = ("--data-dir", str(folder / "data"))
    return ("run", *files, *where, "--engine", "sim", "--model", "sim=sim", *more)


def write_input(folder: Path, count: int = LINES) -> list[str]:
    """Groups that planning moves together, and blank lines."""
    lines = [
        jsonl([chat_line(f"r{n}", f"prompt {n} of group {n % 7}")]) + b"\n" * (n % 3 == 0)
        for n in range(count)
    ]
    (folder / "in.jsonl").write_bytes(b"".join(lines))
    return [f"r{n}" for n in range(count)]


def output_ids(folder: Path) -> list[str]:
    lines = (folder / "out.jsonl").read_text().splitlines()
    return [json.loads(line)["custom_id"] for line in lines]


def test_output_is_in_input_order_answers_and_errors(tmp_path: Path) -> None:
    ids = write_input(tmp_path, 60)
    done = vllm_batch(*arguments(tmp_path, "--fail-rate", "0.3"))
    assert done.returncode == 0, done.stderr
    assert output_ids(tmp_path) == ids
    lines = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    failed = [line for line in lines if line["error"] or line["response"]["status_code"] != 200]
    assert 0 < len(failed) < 60
    assert f"{len(failed)} of them failed" in done.stderr
    assert list((tmp_path / "data" / "runs").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


async def test_typed_again_after_a_kill_it_computes_the_rest_only(tmp_path: Path) -> None:
    ids = write_input(tmp_path)
    log = tmp_path / "served.jsonl"
    command = arguments(tmp_path, f"--requests-per-s={RATE}", "--request-log", str(log))
    process = begin(*command, errors=tmp_path / "errors")

    def some_are_served() -> bool:
        return log.exists() and len(log.read_bytes().splitlines()) > LINES // 2

    await until(some_are_served, within_s=60, what="half of the requests")
    children = family(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out.jsonl").exists()
    again = vllm_batch(*command)
    assert again.returncode == 0, again.stderr
    assert living(children) == []
    assert output_ids(tmp_path) == ids
    served = Counter(json.loads(line)["id"] for line in log.read_text().splitlines())
    assert len(served) == LINES
    assert sum(served.values()) < LINES * 1.3  # had it begun anew: half of them twice


async def test_interrupted_it_says_how_to_go_on(tmp_path: Path) -> None:
    write_input(tmp_path)
    process = begin(*arguments(tmp_path, "--requests-per-s=20"), errors=tmp_path / "errors")
    said = tmp_path / "errors"
    await until(lambda: "in_progress" in said.read_text(), within_s=60, what="progress")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    assert process.returncode == 128 + signal.SIGINT
    assert "type the same command again to go on" in said.read_text()
    assert processes_of(tmp_path / "data") == []


def test_invalid_input_names_lines_and_leaves_nothing(tmp_path: Path) -> None:
    lines = [chat_line("a", "x"), chat_line("a", "x")]
    (tmp_path / "in.jsonl").write_bytes(jsonl(lines))
    done = vllm_batch(*arguments(tmp_path))
    assert done.returncode == 1
    assert "line 2: " in done.stderr
    assert not (tmp_path / "out.jsonl").exists()
    assert list((tmp_path / "data" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("-i", "/no/such.jsonl"), 1, "cannot read /no/such.jsonl"),
        (("-o", "/no/such/out.jsonl"), 1, "the folder /no/such does not exist"),
        (("stray",), 3, "unknown argument 'stray'"),
        (("--colour", "red"), 3, "no option 'colour'"),
        (("--model", "second", "--served-model-name", "x"), 2, "exactly one --model"),
    ],
)
def test_a_wrong_command_line(tmp_path: Path, more: tuple[str, ...], code: int, words: str) -> None:
    write_input(tmp_path, 1)
    done = vllm_batch(*arguments(tmp_path, *more))
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()
