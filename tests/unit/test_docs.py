"""What the documents promise can be followed: files exist, commands parse, tables are generated."""

import ast
import builtins
import importlib
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

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


_QUOTED = re.compile(r"\*\*`([^`]+)`\*\*")


def _said(tree: ast.AST) -> Iterator[str]:
    """Every text in the code, with … for what is only known when it runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _pattern(message: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, message.split("…"))), re.DOTALL)


def test_every_message_that_is_explained_is_one_that_is_said() -> None:
    sources = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    said = [text for path in sources for text in _said(ast.parse(path.read_text("utf-8")))]
    page = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text("utf-8")
    quoted = [message.replace("\n", " ") for message in _QUOTED.findall(page)]
    assert len(quoted) > 30
    unknown = [it for it in quoted if not any(_pattern(it).search(text) for text in said)]
    assert unknown == []


def test_every_event_that_is_explained_is_one_that_is_logged() -> None:
    sources = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    logged = {
        event
        for path in sources
        for event in re.findall(r'log\.\w+\(\s*"(\w+)"', path.read_text("utf-8"))
    }
    page = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text("utf-8")
    table = page.partition("log says (`event`)")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    told = {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}
    assert len(told) > 8
    assert told - logged == set()


_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_python_on_a_page_uses_names_that_there_are(page: Path) -> None:
    """Each block compiles; what it imports exists; nothing is used that no block has made."""
    # OpenAI's client, and what a receiver of webhooks is given, need no introduction.
    known = {*dir(builtins), "client", "body", "headers"}
    for block in _PYTHON.findall(page.read_text("utf-8")):
        tree = ast.parse(block)
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Import):
                known |= {(it.asname or it.name).partition(".")[0] for it in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert [it.name for it in node.names if not hasattr(module, it.name)] == []
                known |= {it.asname or it.name for it in node.names}
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                known.add(node.name)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
        names = [node for node in nodes if isinstance(node, ast.Name)]
        known |= {it.id for it in names if isinstance(it.ctx, ast.Store)}
        assert {it.id for it in names} - known == set()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_python_on_a_page_asks_openai_for_what_it_has(page: Path) -> None:
    client = OpenAI(base_url="http://127.0.0.1:1/v1", api_key="none")
    for block in _PYTHON.findall(page.read_text("utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and (path := _path_of(node))[0] == "client":
                found: Any = client
                for step in path[1:]:
                    found = getattr(found, step)


def _path_of(node: ast.expr) -> list[str]:
    """`a.b.c` as its names; [""] for what begins otherwise."""
    if isinstance(node, ast.Attribute):
        return [*_path_of(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else [""]
