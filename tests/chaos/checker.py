"""What a user can see of one batch that has ended, and whether the promises were kept. Pure."""

import json
import re
from collections import Counter
from typing import Any

import msgspec

from batch_common.state import TERMINAL
from chaos.batch_plan import BatchPlan, number_of
from chaos.subscriber import SeenEvent

UNFINISHED = {"cancelled": "batch_cancelled", "expired": "batch_expired"}
_DIGEST = re.compile(r"[0-9a-f]{16}$")


class SeenPost(msgspec.Struct, frozen=True):
    """A webhook as it came in."""

    webhook_id: str
    event_id: str
    type: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """batch: the API's last word; output, errors, stream: bytes of the two files and of
    `/results`; None: there is no such file.
    """

    plan: BatchPlan
    batch: dict[str, Any]
    output: bytes | None
    errors: bytes | None
    stream: bytes | None
    events: list[SeenEvent]
    posts: list[SeenPost]


def check(seen: Evidence, asked: dict[str, str]) -> list[str]:
    """Violations. `asked`: the id of a simulated answer → the mark of the line it answers."""
    status = seen.batch["status"]
    if status not in TERMINAL:
        return [f"is still {status}"]
    found = []
    if status not in seen.plan.ends:
        found.append(f"ended {status}: {seen.batch['errors']}")
    found += _check_stamps(seen)
    found += _check_told(seen)
    if seen.batch["in_progress_at"] is None:
        if seen.output is not None or seen.errors is not None:
            found.append("has files although nothing ran")
        return found
    return found + _check_lines(seen) + _check_answers(seen, asked)


def is_end(event: SeenEvent) -> bool:
    """Whether it tells of a terminal status."""
    return event.type.removeprefix("batch.") in TERMINAL


def innocent_failures(seen: Evidence) -> list[dict[str, Any]]:
    """Error lines of requests that were good: what faults of the engine may cost."""
    return [
        line
        for line in _lines(seen.errors)
        if _code(line) != UNFINISHED.get(seen.batch["status"]) and not _is_bad(seen.plan, line)
    ]


def _check_stamps(seen: Evidence) -> list[str]:
    """The batch bears the time of its terminal status, and of no other."""
    status = seen.batch["status"]
    stamped = {name for name in TERMINAL if seen.batch[f"{name}_at"] is not None}
    return [] if stamped == {status} else [f"is {status} and bears the times of {sorted(stamped)}"]


def _check_told(seen: Evidence) -> list[str]:
    """The end is in the stream under one id, and the webhook was called with the same."""
    found = []
    ends = [event for event in seen.events if is_end(event)]
    ids = {event.id for event in ends}
    wanted = f"batch.{seen.batch['status']}"
    if {event.type for event in ends} != {wanted}:
        found.append(f"{wanted} is not the one end in the stream: {[e.type for e in ends]}")
    if len(ids) > 1:
        found.append(f"its end has several ids in the stream: {sorted(ids)}")
    for event in ends:
        said = {name: event.body.get(name) for name in ("output_file_id", "error_file_id")}
        if any(seen.batch[name] != value for name, value in said.items()):
            found.append(f"the event says {said}")
        if event.body.get("counts") != seen.batch["request_counts"]:
            found.append(f"the event says {event.body.get('counts')}")
    if {post.type for post in seen.posts} != {wanted}:
        found.append(f"{wanted} is not what the webhook was told: {seen.posts}")
    if len({post.webhook_id for post in seen.posts}) > 1:
        found.append(f"the webhook got several ids: {seen.posts}")
    if {post.event_id for post in seen.posts} - ids:
        found.append(f"the webhook's event is not the stream's: {seen.posts}")
    return found


def _check_lines(seen: Evidence) -> list[str]:
    """Each custom_id exactly once, counts equal lines, and `/results` holds the same lines."""
    output, errors = _lines(seen.output), _lines(seen.errors)
    plan, counts, status = seen.plan, seen.batch["request_counts"], seen.batch["status"]
    found = []
    there = Counter(line["custom_id"] for line in output + errors)
    wanted = {plan.custom_id(line) for line in plan.numbers}
    if missing := wanted - there.keys():
        found.append(f"{len(missing)} requests are lost: {sorted(missing)[:5]}")
    if repeated := [name for name, count in there.items() if count > 1]:
        found.append(f"{len(repeated)} requests stand there twice: {repeated[:5]}")
    if strange := there.keys() - wanted:
        found.append(f"there are requests of others: {sorted(strange)[:5]}")
    unfinished = sum(_code(line) == UNFINISHED.get(status, "?") for line in errors)
    said = (counts["total"], counts["completed"], counts["failed"])
    if said != (plan.lines, len(output), len(errors) - unfinished):
        found.append(
            f"counts {counts}, but {len(output)} output lines, {len(errors)} error lines "
            f"of which {unfinished} unfinished, {plan.lines} asked"
        )
    if Counter(_split(seen.stream)) != Counter(_split(seen.output) + _split(seen.errors)):
        found.append("/results and the files do not hold the same lines")
    for name, lines in (("output", output), ("error", errors)):
        if bool(seen.batch[f"{name}_file_id"]) != bool(lines):
            found.append(f"{len(lines)} lines in {name} file {seen.batch[f'{name}_file_id']}")
    return found


def _check_answers(seen: Evidence, asked: dict[str, str]) -> list[str]:
    """Each line's answer is the answer to that line, in the file where it belongs."""
    plan, found = seen.plan, []
    for line in _lines(seen.output):
        if line["error"] is not None or line["response"]["status_code"] != 200:
            found.append(f"no success in the output file: {line}")
            continue
        answer = line["response"]["body"].get("id", "")
        told = _DIGEST.search(answer)
        if told and asked.get(told[0], line["custom_id"]) != line["custom_id"]:
            found.append(f"{line['custom_id']} has the answer to {asked[told[0]]}")
        if _is_bad(plan, line):
            found.append(f"{line['custom_id']} cannot have succeeded")
    for line in _lines(seen.output) + _lines(seen.errors):
        batch = seen.batch["id"].removeprefix("batch_")
        if line["id"] != f"batch_req_{batch}_{plan.place(line['custom_id'])}":
            found.append(f"{line['custom_id']} has the id {line['id']}")
    for line in _lines(seen.errors):
        code = _code(line)
        if code in UNFINISHED.values() and code != UNFINISHED.get(seen.batch["status"]):
            found.append(f"a {seen.batch['status']} batch holds {code}")
    return found[:10]


def _is_bad(plan: BatchPlan, line: dict[str, Any]) -> bool:
    number = number_of(line["custom_id"])
    return plan.is_refused(number) or plan.is_poison(number)


def _code(line: dict[str, Any]) -> str:
    return str((line["error"] or {}).get("code", ""))


def _split(data: bytes | None) -> list[bytes]:
    return (data or b"").splitlines()


def _lines(data: bytes | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _split(data)]
