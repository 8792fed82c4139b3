"""`schemas/events` is what the code says, and what the code says is what is sent."""

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from batch_common.event_schemas import event_schemas
from batch_common.events import (
    BATCH_EVENTS,
    STREAM_EVENTS,
    BatchEnded,
    BatchEvent,
    BatchInProgress,
    ChunkClaim,
    ChunkCompleted,
    ChunkReady,
    ClaimAnswer,
    Counts,
    DeliveryFailed,
    ModelState,
    RunnerState,
    TokenUsage,
    decode,
    encode,
)

FOLDER = Path(__file__).parents[3] / "schemas" / "events"


def batch_event(kind: type[BatchEvent]) -> BatchEvent:
    more: dict[str, Any] = {}
    if issubclass(kind, BatchInProgress | BatchEnded):
        more["counts"] = Counts(10, 9, 1)
    if issubclass(kind, BatchEnded):
        more |= {"usage": TokenUsage(1, 2, 3, 4), "model": "a/b", "output_file_id": "file-2"}
    return kind(
        batch_id="batch_1",
        tenant="default",
        endpoint="/v1/chat/completions",
        input_file_id="file-1",
        at=1700000000,
        metadata={"k": "v"},
        **more,
    )


EXAMPLES: dict[str, msgspec.Struct] = {kind.type: batch_event(kind) for kind in BATCH_EVENTS} | {
    "chunk.ready": ChunkReady(
        chunk="chunk_1",
        generation=1,
        batch_id="batch_1",
        model="a/b",
        endpoint="/v1/embeddings",
        input_key="plans/batch_1/input",
        index_key="plans/batch_1/index",
        first_line=0,
        end_line=10,
        first_byte=0,
        end_byte=1000,
        prefix="chunks/batch_1/chunk_1/",
        deadline=1700086400,
    ),
    "chunk.completed": ChunkCompleted(
        chunk="chunk_1", generation=1, attempt="att_1", manifest_key="m"
    ),
    "delivery.failed": DeliveryFailed(
        batch_id="batch_1",
        tenant="default",
        sink="webhook",
        event_id="evt_1",
        event_type="batch.failed",
        attempts=7,
        error="the receiver answered 500",
        at=1700000000,
    ),
    "chunk.claim": ChunkClaim(chunk="chunk_1", generation=1, attempt="att_1", runner="r"),
    "chunk.claim.answer": ClaimAnswer("go"),
    "runner": RunnerState(
        runner="host-1",
        engine="sim",
        models=(ModelState(name="a/b", endpoints=("/v1/embeddings",), requests_per_s=1.5),),
        status="ready",
    ),
}
NAMES = [name.removesuffix(".json") for name in event_schemas()]


def test_the_folder_holds_what_the_code_says() -> None:
    """Drift: `python -m batch_common.event_schemas schemas/events` writes them anew."""
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == event_schemas()


def test_every_event_has_a_schema_and_an_example() -> None:
    assert {event.type for event in STREAM_EVENTS} <= set(NAMES)
    assert set(NAMES) == set(EXAMPLES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_follows_its_schema(name: str) -> None:
    schema = msgspec.json.decode((FOLDER / f"{name}.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(msgspec.json.decode(encode(EXAMPLES[name])))
    assert not validator.is_valid({})
    assert schema["$id"].endswith(f"/{name}.json")


@pytest.mark.parametrize("name", NAMES)
def test_messages_come_back_equal(name: str) -> None:
    example = EXAMPLES[name]
    assert decode(encode(example), type(example)) == example


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_later_releases_are_passed_over(name: str) -> None:
    example = EXAMPLES[name]
    later = msgspec.json.decode(encode(example)) | {"field_of_a_later_release": 1}
    assert decode(msgspec.json.encode(later), type(example)) == example
