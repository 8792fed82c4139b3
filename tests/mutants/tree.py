"""A copy of the tree to break, and tests run in it."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mutants.mutant import Mutant

ROOT: Final = Path(__file__).parents[2]
_PACKAGES: Final = (
    "libs/common",
    "libs/cli",
    "services/gateway",
    "services/scheduler",
    "services/gpu_runner",
    "services/sinks",
)
# A bug may make a test wait for ever: each test may take this long, in seconds, and a run that.
_TEST_S: Final = 90
_RUN_S: Final = 1800
# Above this many tests two processes share them.
_FEW: Final = 4


class Verdict(msgspec.Struct, frozen=True):
    """Of each test that was asked for: whether one of its cases failed, and whether any ran."""

    failed: frozenset[str]
    ran: frozenset[str]
    output: str


def make(folder: Path) -> Path:
    """Copies what git tracks, and what it would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source, target = ROOT / name, folder / name
        if name and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


@contextmanager
def broken(tree: Path, mutant: Mutant) -> Iterator[None]:
    """The tree with the bug in it, within the block."""
    path = tree / mutant.file
    whole = path.read_text("utf-8")
    path.write_text(mutant.patched(tree), "utf-8")
    try:
        yield
    finally:
        path.write_text(whole, "utf-8")


def run(tree: Path, tests: tuple[str, ...]) -> Verdict:
    """Runs the tests against the copy, which stands before the installed packages."""
    report = tree / "verdict.xml"
    report.unlink(missing_ok=True)
    path = os.pathsep.join(str(tree / package) for package in _PACKAGES)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout"]
    command += [str(_TEST_S), "--junitxml", str(report), "-o", "junit_family=xunit1", *tests]
    if len(tests) > _FEW:
        command += ["-n", "2", "--dist", "loadscope"]
    environment = os.environ | {
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "verdict",
    }
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=_RUN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Verdict(frozenset(), frozenset(), f"no end within {_RUN_S} s")
    output = done.stdout.decode(errors="replace")
    if not report.exists():
        return Verdict(frozenset(), frozenset(), output + done.stderr.decode(errors="replace"))
    cases = _cases(report)
    failed = frozenset(test for test in tests if True in cases[test])
    return Verdict(failed, frozenset(test for test in tests if cases[test]), output)


def _cases(report: Path) -> dict[str, set[bool]]:
    """Of each test, with its parameters and without, whether its cases failed."""
    found: dict[str, set[bool]] = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        name = case.get("name") or ""
        bad = case.find("failure") is not None or case.find("error") is not None
        for node in (name, name.partition("[")[0]):
            found[f"{case.get('file')}::{node}"].add(bad)
    return found
