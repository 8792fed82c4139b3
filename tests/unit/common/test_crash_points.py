"""Every durable step has a name, and no two share one."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_common import crash_points, keys, subjects
from batch_common.blobs import open_blobs
from batch_common.config import Blobs
from batch_common.crash_points import Side
from batch_common.errors import BlobUnavailableError

ROOT = Path(__file__).parents[3]
SOURCES = [*(ROOT / "services").rglob("*.py"), *(ROOT / "libs").rglob("*.py")]


def write_names() -> Iterator[tuple[str, str | None]]:
    """Where a write transaction is opened, and its name (None: not a literal)."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.AsyncWith):
                continue
            for call in (item.context_expr for item in node.items):
                if _is_write(call):
                    yield f"{path.name}:{call.lineno}", _literal(call)


def _is_write(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "write"
    )


def _literal(call: ast.expr) -> str | None:
    assert isinstance(call, ast.Call)
    if len(call.args) == 1 and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return None


def test_every_transaction_has_a_name_of_its_own() -> None:
    found = dict(write_names())
    assert len(found) > 30
    assert [place for place, name in found.items() if not name] == []
    assert [name for name, count in Counter(found.values()).items() if count > 1] == []


def test_transactions_begin_nowhere_else() -> None:
    """A commit past `Database.write` would be a crash point without a name."""
    for path in SOURCES:
        if path.name not in ("db.py", "env.py"):
            text = path.read_text("utf-8")
            assert ".begin()" not in text, path
            assert ".commit()" not in text, path


@pytest.mark.parametrize(
    ("attribute", "allowed"),
    [
        ("js.publish", {"bus.py"}),
        ("respond(", {"bus.py"}),
        ("ack_sync(", {"pull.py"}),
        (".nak(", {"pull.py"}),
        ("put_async(", {"blobs.py"}),
        ("delete_async(", {"blobs.py"}),
        (".ack()", set()),
    ],
)
def test_only_the_adapters_act(attribute: str, allowed: set[str]) -> None:
    used = {path.name for path in SOURCES if attribute in path.read_text("utf-8")}
    assert used == allowed


def test_every_key_has_a_kind() -> None:
    prefix = keys.chunk_prefix("batch_1", "chunk_1")
    kinds = [
        keys.kind_of(key)
        for key in (
            keys.file_content("file-1"),
            keys.upload_part("upload_1", "part_1"),
            keys.plan_input("batch_1"),
            keys.batch_content("batch_1", "output"),
            keys.segment(prefix, "att_1", 1),
            keys.chunk_output(prefix, "att_1"),
            keys.chunk_errors(prefix, "att_1"),
            keys.chunk_manifest(prefix, "att_1"),
        )
    ]
    assert kinds == [
        "file", "upload part", "plan", "results", "segment",
        "chunk output", "chunk errors", "chunk manifest",
    ]  # fmt: skip


def test_events_are_named_without_what_they_are_about() -> None:
    assert subjects.event_of(subjects.chunk_ready("Qwen/Qwen3-4B", "chunk_1")) == "chunk.ready"
    assert subjects.event_of(subjects.CHUNK_COMPLETED) == "chunk.completed"
    assert subjects.event_of(subjects.dead("webhook")) == "dead"


async def test_the_hook_sees_both_sides_and_may_fail_the_step(tmp_path: Path) -> None:
    blobs = open_blobs(Blobs(), tmp_path)
    seen: list[tuple[str, Side]] = []

    async def hook(name: str, side: Side) -> None:
        seen.append((name, side))
        if len(seen) == 3:
            raise BlobUnavailableError("a fault")

    crash_points.install(hook)
    try:
        await blobs.put("files/a", b"x")
        with pytest.raises(BlobUnavailableError):
            await blobs.put("files/b", b"x")
    finally:
        crash_points.install(None)
    assert seen == [("put file", Side.BEFORE), ("put file", Side.AFTER), ("put file", Side.BEFORE)]
    assert [blob.key for blob in await blobs.list("files/")] == ["files/a"]
