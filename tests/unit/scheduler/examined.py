"""Examining an input without a service around it."""

import json
import tempfile
from typing import Any

from batch_common.formats.plan import RECORD_BYTES, Index, read_index
from batch_scheduler.examine import Job, Report, examine
from batch_scheduler.rules import Rules
from batch_scheduler.spool import _pieces

CHAT = "/v1/chat/completions"


def job(**changes: Any) -> Job:
    rules = {"endpoint": CHAT, "models": frozenset({"m", "n"}), "single_model": False}
    rules |= {name: changes.pop(name) for name in list(changes) if name in rules}
    limits = {
        "max_requests": 50_000,
        "max_line_bytes": 16 << 20,
        "max_embedding_inputs": 100,
        "window_bytes": 1 << 30,
    }
    return Job(rules=Rules(**rules), **(limits | changes))


def line(custom_id: str = "a", **body: Any) -> bytes:
    """A good chat request; a key of `body` set to `...` is left out."""
    content = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | body
    content = {key: value for key, value in content.items() if value is not ...}
    return envelope(custom_id=custom_id, body=content)


def envelope(**fields: Any) -> bytes:
    whole = {"custom_id": "a", "method": "POST", "url": CHAT, "body": {}} | fields
    whole = {key: value for key, value in whole.items() if value is not ...}
    return json.dumps(whole).encode()


def examined(content: bytes, **changes: Any) -> Report:
    return planned(content, **changes)[0]


def planned(content: bytes, **changes: Any) -> tuple[Report, Index, bytes]:
    """The report, the index and the planned input; the latter two empty on problems."""
    with tempfile.TemporaryFile() as spool, tempfile.TemporaryFile() as plan:
        spool.write(content if content.endswith(b"\n") else content + b"\n")
        spool.flush()
        report = examine(job(**changes), spool, plan)  # type: ignore[arg-type]
        if report.problem_count:
            return report, read_index(b""), b""
        plan.seek(0)
        index = read_index(plan.read(report.requests * RECORD_BYTES))
        text = b"".join(_pieces(spool.fileno(), plan.fileno(), report.requests))
    return report, index, text


def problems(content: bytes, **changes: Any) -> list[tuple[str, str | None, int | None]]:
    """(code, param, line) of each."""
    return [(p.code, p.param, p.line) for p in examined(content, **changes).problems]
