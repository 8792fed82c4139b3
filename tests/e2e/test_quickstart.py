"""docs/QUICKSTART.md, typed as it stands, against a real `up` on the simulated engine.

Ids differ each time: those of the page stand for those that the commands before them printed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.requests import chat_line, jsonl
from support.standalone import Standalone, standalone

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "QUICKSTART.md").read_text("utf-8")
MODEL = "SmolLM2-135M-Instruct"
URL = "http://127.0.0.1:8000/v1"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b(?:batch_|file-)[0-9a-z]{26}\b")


class Reader:
    """Types commands in one folder, with `vllm-batch` and Python on the path."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder = folder
        self._environ = os.environ | {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": "none",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self._ids: dict[str, str] = {}
        self._url = url

    def type(self, command: str, shown: list[str]) -> str:
        """What it prints on both outputs; ids in `shown` become known, in their order."""
        done = subprocess.run(
            ["/bin/bash", "-c", self._own(command)],
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        printed = list(dict.fromkeys(_ID.findall(done.stdout)))
        new = dict.fromkeys(it for it in _ID.findall("\n".join(shown)) if it not in self._ids)
        theirs = [it for it in printed if it not in self._ids.values()]
        self._ids |= dict(zip(new, theirs, strict=False))
        return done.stdout

    def knows(self, command: str) -> bool:
        """Whether a command before it has printed what it names."""
        return all(it in self._ids for it in _ID.findall(command))

    def stands_for(self, shown: str, real: str) -> None:
        self._ids[shown] = real

    def _own(self, text: str) -> str:
        text = text.replace(URL, self._url)
        return _ID.sub(lambda found: self._ids[found[0]], text)


def typed(section: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a section's console blocks, with the lines that the page shows after it."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    for kind, block in _BLOCK.findall(text):
        if kind != "console":
            continue
        for part in ("\n" + block.replace("\\\n", "")).split("\n$ ")[1:]:
            command, *shown = part.splitlines()
            yield command.partition("   #")[0], shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page is read: the examples, and a file of one's own."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    lines = [chat_line(f"q{n}", f"question {n}", model=MODEL) for n in range(3)]
    (tmp_path / "requests.jsonl").write_bytes(jsonl(lines))
    return tmp_path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """In no hurry: a batch of 50 is still running when somebody cancels it."""
    options = ("--model", f"{MODEL}=sim", "-o", "requests_per_s=4")
    with standalone(tmp_path_factory.mktemp("quickstart") / "data", *options) as started:
        yield started


def test_handing_in_a_batch(system: Standalone, folder: Path) -> None:
    reader = Reader(system.url, folder)
    looked = 0
    for command, shown in typed("Hand in a batch"):
        if not reader.knows(command):  # "a batch can be cancelled": another one than before
            again = "vllm-batch submit examples/demo_requests.jsonl --metadata project=demo"
            reader.stands_for(_ID.findall(command)[0], reader.type(again, []).strip())
        said = reader.type(command, shown)
        if command.startswith(("vllm-batch show", "vllm-batch list")):
            look_again_until_it_looks_so(reader, command, said, shown)
            looked += 1
    assert looked == 4


def look_again_until_it_looks_so(reader: Reader, command: str, said: str, shown: list[str]) -> None:
    """Line for line it begins as on the page; a cancelled batch takes a moment to end."""
    told = {line.split()[0] for line in shown if line != "…" and not _ID.match(line)}
    # The simulated engine answers also the request that is meant to fail.
    told -= {"errors"}
    deadline = time.monotonic() + 60
    while not told <= {line.split()[0] for line in said.splitlines()}:
        assert time.monotonic() < deadline, f"{command}: {told} in {said}"
        said = reader.type(command, [])


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(system: Standalone, folder: Path) -> None:
    reader = Reader(system.url, folder)
    typed_ones = [it for it in typed("With curl") if it[0].startswith("curl")]
    assert len(typed_ones) == 2
    for command, shown in typed_ones:
        said = reader.type(command, shown)
        assert said.startswith(shown[0][:5])


def test_python(system: Standalone, folder: Path) -> None:
    text = PAGE.partition("\n## From Python\n")[2]
    [code] = [
        block for kind, block in _BLOCK.findall(text.partition("\n## ")[0]) if kind == "python"
    ]
    (folder / "page.py").write_text(code.replace(URL, system.url))
    said = Reader(system.url, folder).type("python page.py", [])
    assert "completed BatchRequestCounts(completed=3, failed=0, total=3)" in said
    assert '"custom_id":"q0"' in said


def test_one_file_without_a_server(folder: Path, tmp_path: Path) -> None:
    """The engine and the data folder are the test's; the rest is as typed."""
    command, _ = next(typed("One file, no server"))
    own = f" --engine sim --model {MODEL}=sim --data-dir {tmp_path / 'runs'}"
    Reader(URL, folder).type(f"VLLM_BATCH_NATS__URL=nats://127.0.0.1:0 {command}{own}", [])
    lines = (folder / "results.jsonl").read_text("utf-8").splitlines()
    assert [re.findall(r'"custom_id":"(\w+)"', line)[0] for line in lines] == ["q0", "q1", "q2"]
