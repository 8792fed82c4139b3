"""A checker that finds nothing proves nothing: each promise, broken in turn, is noticed."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chaos.batch_plan import BatchPlan
from chaos.checker import Evidence, SeenPost, check, innocent_failures
from chaos.subscriber import SeenEvent

COUNTS = {"total": 4, "completed": 3, "failed": 1}
FILES = {"output_file_id": "file-out", "error_file_id": "file-err"}
ANSWER = "00000000000000ab"


def plan(**changes: Any) -> BatchPlan:
    fields = {
        "number": 5, "at_s": 0.0, "kind": "failing", "key": "k", "endpoint": "/v1/completions",
        "lines": 4, "wait_s": 0.0,
    }  # fmt: skip
    return BatchPlan(**(fields | changes))


def good(line: int) -> dict[str, Any]:
    return {
        "id": f"batch_req_1_{line + 1}",
        "custom_id": f"5-{line}",
        "response": {"status_code": 200, "request_id": "r", "body": {"id": f"cmpl-{ANSWER}"}},
        "error": None,
    }


def bad(line: int, code: str = "") -> dict[str, Any]:
    refused = {"status_code": 400, "request_id": "r", "body": {}}
    error = {"code": code, "message": "m"} if code else None
    return good(line) | {"response": None if code else refused, "error": error}


def joined(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def evidence(**changes: Any) -> Evidence:
    """Of a batch in which everything went well; line 3 is refused by the engine."""
    stamps = {f"{name}_at": None for name in ("failed", "expired", "cancelled")}
    output, errors = joined(good(0), good(1), good(2)), joined(bad(3))
    found = Evidence(
        plan=plan(),
        batch={
            "id": "batch_1", "status": "completed", "completed_at": 9, "in_progress_at": 8,
            "errors": None, "request_counts": COUNTS, **FILES, **stamps,
        },
        output=output,
        errors=errors,
        stream=errors + output,
        events=[
            SeenEvent("e0", "batch.submitted", "batch_1", {}),
            SeenEvent("e1", "batch.completed", "batch_1", {"counts": COUNTS, **FILES}),
        ],
        posts=[SeenPost("w1", "e1", "batch.completed")],
    )  # fmt: skip
    return msgspec.structs.replace(found, **changes)


def batch(**changes: Any) -> dict[str, Any]:
    return evidence().batch | changes


def test_a_batch_that_went_well_is_left_in_peace() -> None:
    assert check(evidence(), {}) == []
    assert innocent_failures(evidence()) == []


def test_a_retry_answers_the_lines_it_asks_for_and_numbers_them_anew() -> None:
    again = plan(lines=14).retry(["5-10", "5-3"])
    counts = {"total": 2, "completed": 0, "failed": 2}
    errors = joined(bad(10) | {"id": "batch_req_1_1"}, bad(3) | {"id": "batch_req_1_2"})
    files = {"output_file_id": None, "error_file_id": "file-err"}
    seen = evidence(
        plan=again,
        batch=batch(request_counts=counts, **files),
        output=None,
        errors=errors,
        stream=errors,
        events=[SeenEvent("e1", "batch.completed", "batch_1", {"counts": counts, **files})],
    )
    assert check(seen, {}) == []
    first = joined(bad(10), bad(3))
    assert check(msgspec.structs.replace(seen, errors=first, stream=first), {})


def test_an_end_that_was_told_twice_under_one_id_is_fine() -> None:
    seen = evidence()
    again = msgspec.structs.replace(seen, events=seen.events * 2, posts=seen.posts * 2)
    assert check(again, {}) == []


def with_lines(output: bytes, errors: bytes) -> dict[str, Any]:
    return {"output": output, "errors": errors, "stream": output + errors}


BROKEN: dict[str, Callable[[], dict[str, Any]]] = {
    "is still": lambda: {"batch": batch(status="in_progress")},
    "ended failed": lambda: {"batch": batch(status="failed")},
    "bears the times": lambda: {"batch": batch(cancelled_at=9)},
    "are lost": lambda: with_lines(joined(good(0), good(2)), joined(bad(3))),
    "stand there twice": lambda: with_lines(
        joined(good(0), good(1), good(1), good(2)), joined(bad(3))
    ),
    "of others": lambda: with_lines(
        joined(good(0), good(1), good(2)), joined(bad(3), bad(0) | {"custom_id": "9-0"})
    ),
    "counts {": lambda: {"batch": batch(request_counts={"total": 4, "completed": 4, "failed": 0})},
    "/results and the files": lambda: {"stream": joined(good(0), good(1), good(2))},
    "lines in error file": lambda: {"batch": batch(error_file_id=None)},
    "has the id": lambda: with_lines(
        joined(good(0), good(1), good(2) | {"id": "batch_req_1_2"}), joined(bad(3))
    ),
    "no success": lambda: with_lines(joined(good(0), good(1), bad(2)), joined(bad(3))),
    "cannot have succeeded": lambda: with_lines(
        joined(good(0), good(1), good(2), good(3)), b""
    ),
    "batch holds batch_expired": lambda: with_lines(
        joined(good(0), good(1), good(2)), joined(bad(3, "batch_expired"))
    ),
    "is not the one end": lambda: {"events": evidence().events[:1]},
    "several ids in the stream": lambda: {
        "events": [
            *evidence().events,
            SeenEvent("e2", "batch.completed", "batch_1", {"counts": COUNTS, **FILES}),
        ]
    },
    "the event says": lambda: {
        "events": [SeenEvent("e1", "batch.completed", "batch_1", {"counts": {}, **FILES})]
    },
    "not what the webhook was told": lambda: {"posts": []},
    "the webhook got several ids": lambda: {
        "posts": [*evidence().posts, SeenPost("w2", "e1", "batch.completed")]
    },
    "is not the stream's": lambda: {"posts": [SeenPost("w1", "e9", "batch.completed")]},
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_each_broken_promise_is_told(what: str) -> None:
    assert any(what in violation for violation in check(evidence(**BROKEN[what]()), {}))


def test_an_answer_to_another_line_is_told() -> None:
    found = check(evidence(), {ANSWER: "5-0"})
    assert found == ["5-1 has the answer to 5-0", "5-2 has the answer to 5-0"]


def test_files_of_a_batch_that_never_ran_are_told() -> None:
    seen = evidence(batch=batch(in_progress_at=None))
    assert "has files although nothing ran" in check(seen, {})


def test_unfinished_lines_of_a_cancelled_batch_are_neither_counted_nor_innocent() -> None:
    output, errors = joined(good(0), good(1), good(2)), joined(bad(3, "batch_cancelled"))
    counts = {"total": 4, "completed": 3, "failed": 0}
    stamps = {"status": "cancelled", "completed_at": None, "cancelled_at": 9}
    ended = SeenEvent("e1", "batch.cancelled", "batch_1", {"counts": counts, **FILES})
    seen = evidence(
        plan=plan(kind="cancelled"),
        batch=batch(request_counts=counts, **stamps),
        events=[ended],
        posts=[SeenPost("w1", "e1", "batch.cancelled")],
        **with_lines(output, errors),
    )
    assert check(seen, {}) == []
    assert innocent_failures(seen) == []


def test_a_good_request_that_failed_is_found() -> None:
    seen = evidence(**with_lines(joined(good(0), good(1)), joined(bad(2, "engine_error"), bad(3))))
    assert [line["custom_id"] for line in innocent_failures(seen)] == ["5-2"]
