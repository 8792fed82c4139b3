"""What the documents promise can be followed: files exist, commands parse, tables are generated."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_cli.main import build_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/*.md",
        "services/*/README.md",
        "monitoring/*.md",
    )
    for path in ROOT.glob(pattern)
)

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# `NAME=value`, `nohup`, `ID=$(` and the like may stand before the command.
_COMMAND = re.compile(r"(?:^|[\s(])vllm-batch(?= )(.*)$")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchor(heading: str) -> str:
    """As GitHub makes them of headings."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    if "://" in path:
        return True
    file = page.parent / path if path else page
    if not file.exists():
        return False
    return not anchor or anchor in map(_anchor, _HEADING.findall(file.read_text("utf-8")))


def _commands(text: str) -> Iterator[str]:
    """The arguments of each `vllm-batch` command that a console block types."""
    for block in _CONSOLE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            typed = line.removeprefix("$ ").partition("   #")[0] if line.startswith("$ ") else ""
            for part in re.split(r"&&|\||;|\)", typed):
                if found := _COMMAND.search(part):
                    yield found[1].removesuffix("&").strip()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = _LINK.findall(page.read_text("utf-8"))
    assert [target for target in targets if not _leads_somewhere(page, target)] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_is_one_that_the_parser_takes(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = []
    for command in _commands(page.read_text("utf-8")):
        try:
            args, unknown = build_parser().parse_known_args(shlex.split(command))
            if unknown and not args.takes_unknown:
                refused.append(f"{command}: {unknown}")
        except SystemExit as leaving:
            if leaving.code:
                refused.append(f"{command}: {capsys.readouterr().err}")
    assert refused == []


def test_commands_are_found_where_they_stand() -> None:
    text = (
        "```console\n$ vllm-batch up --port 1   # says ready\nvllm-batch is not typed here\n"
        "$ ID=$(vllm-batch submit a.jsonl) && vllm-batch watch $ID\n$ X__Y=1 vllm-batch list\n```\n"
    )
    assert list(_commands(text)) == ["up --port 1", "submit a.jsonl", "watch $ID", "list"]


def test_the_configuration_page_is_the_generated_one() -> None:
    generator = runpy.run_path(str(ROOT / "scripts" / "configuration_page.py"))
    assert (ROOT / "docs" / "CONFIGURATION.md").read_text("utf-8") == generator["page"]()
