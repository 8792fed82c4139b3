"""The crash points there are, read from the code."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from batch_common import keys, subjects
from batch_common.events import STREAM_EVENTS, DeliveryFailed, Event

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = (*(ROOT / "services").rglob("*.py"), *(ROOT / "libs").rglob("*.py"))

_PULLED: Final = (subjects.BATCHES, subjects.CHUNKS, subjects.RESULTS)
_ASKED: Final = (subjects.CHUNK_CLAIM, subjects.WEBHOOK_TEST)
_CHUNK: Final = keys.chunk_prefix("batch_1", "chunk_1")
# A key of each kind, by the function of `keys` that makes it.
_KEYS: Final = {
    "file_content": keys.file_content("file-1"),
    "upload_part": keys.upload_part("upload_1", "part_1"),
    "plan_input": keys.plan_input("batch_1"),
    "plan_index": keys.plan_index("batch_1"),
    "plan_schema": keys.plan_schema("batch_1"),
    "suspects": keys.suspects(_CHUNK, "att_1"),
    "installation": keys.installation("inst_1"),
    "batch_content": keys.batch_content("batch_1", "output"),
    "segment": keys.segment(_CHUNK, "att_1", 1),
    "chunk_output": keys.chunk_output(_CHUNK, "att_1"),
    "chunk_errors": keys.chunk_errors(_CHUNK, "att_1"),
    "chunk_manifest": keys.chunk_manifest(_CHUNK, "att_1"),
}
_NO_MAKERS: Final = {
    "check_key", "kind_of", "is_segment", "is_manifest", "is_suspects", "batch_of_errors",
    "upload_prefix", "plan_prefix", "chunk_prefix",
}  # fmt: skip


def commit_names() -> Iterator[tuple[str, str | None]]:
    """Where a write transaction is opened, and its name (None: not a literal)."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.AsyncWith):
                continue
            for call in (item.context_expr for item in node.items):
                if isinstance(call, ast.Call) and _is_write(call):
                    yield f"{path.name}:{call.lineno}", _literal(call)


def known_points() -> frozenset[str]:
    """Every commit; every kind of object put and deleted; every message."""
    kinds = object_kinds()
    return frozenset(
        {f"commit {name}" for _, name in commit_names()}
        | {f"{verb} {kind}" for verb in ("put", "delete") for kind in kinds}
        | {f"publish {_event(event)}" for event in STREAM_EVENTS}
        | {f"{verb} {subject}" for verb in ("ask", "answer") for subject in _ASKED}
        | {f"{verb} {stream}" for verb in ("ack", "nak") for stream in _PULLED}
    )


def object_kinds() -> frozenset[str]:
    """What the keys name that `batch_common.keys` makes. Raises KeyError for a new maker."""
    makers = [name for name in _functions(Path(keys.__file__)) if name not in _NO_MAKERS]
    return frozenset(keys.kind_of(_KEYS[name]) for name in makers)


def _functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def _event(event: type[Event]) -> str:
    return subjects.event_of(subjects.dead("sink") if event is DeliveryFailed else event.type)


def _is_write(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "write"


def _literal(call: ast.Call) -> str | None:
    if len(call.args) == 1 and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return None
