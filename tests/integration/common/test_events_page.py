"""docs/EVENTS.md against a real nats-server: the requests that the `nats` command makes."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from batch_common import presence, subjects
from batch_common.bus import Bus
from batch_common.cloudevents import headers
from batch_common.events import STREAM_EVENTS, BatchCompleted, Counts, RunnerState, encode

PAGE: Final = (Path(__file__).parents[3] / "docs" / "EVENTS.md").read_text("utf-8")
_ROW: Final = re.compile(r"^\| `([A-Z]+)` \| (.+?) \|", re.MULTILINE)
_CODE: Final = re.compile(r"`([^`]+)`")

COMPLETED: Final = BatchCompleted(
    batch_id="batch_1",
    tenant="default",
    endpoint="/v1/chat/completions",
    input_file_id="file-1",
    at=1_795_458_000,
    counts=Counts(1, 1, 0),
)


async def ask(bus: Bus, subject: str, **body: object) -> dict[str, Any]:
    """One request of the JetStream API, as any client sends it."""
    answer = await bus.ask(f"$JS.API.{subject}", json.dumps(body).encode(), 5.0)
    found: dict[str, Any] = json.loads(answer)
    assert "error" not in found, found
    return found


def documented() -> dict[str, list[str]]:
    """Subjects by stream, as the page's first table has them."""
    return {stream: _CODE.findall(cell) for stream, cell in _ROW.findall(PAGE)}


def matches(filter_: str, subject: str) -> bool:
    prefix, _, rest = filter_.partition(">")
    return subject == filter_ or (filter_.endswith(">") and not rest and subject.startswith(prefix))


async def test_stream_ls_shows_the_streams_of_the_page(bus: Bus) -> None:
    names = set((await ask(bus, "STREAM.NAMES", offset=0))["streams"])
    assert names - {f"KV_{subjects.RUNNERS_BUCKET}"} == set(documented())
    listed = await ask(bus, "STREAM.LIST", offset=0)
    real = {each["config"]["name"]: each["config"]["subjects"] for each in listed["streams"]}
    for stream, names_of_subjects in documented().items():
        for subject in names_of_subjects:
            assert any(matches(each, subject) for each in real[stream]), (stream, subject)


async def test_ages_are_those_of_the_page(bus: Bus) -> None:
    days = dict(re.findall(r"^\| `([A-Z]+)` \|.*\| (\d+) days \|$", PAGE, re.MULTILINE))
    assert set(days) == {subjects.BATCHES, subjects.DEAD}
    for stream, age in days.items():
        config = (await ask(bus, f"STREAM.INFO.{stream}"))["config"]
        assert config["max_age"] == int(age) * 86400 * 10**9


def test_the_page_names_every_event() -> None:
    assert set(documented()[subjects.BATCHES]) == {
        event.type for event in STREAM_EVENTS if event.type.startswith("batch.")
    }
    assert all(f"`{event.type}" in PAGE for event in STREAM_EVENTS)


async def test_consumer_ls_shows_one_for_each_model(bus: Bus) -> None:
    for model in ("Qwen/Qwen3-4B", "small"):
        config = ConsumerConfig(
            durable_name=subjects.runner_durable(model),
            filter_subject=subjects.chunks_of(model),
            ack_policy=AckPolicy.EXPLICIT,
        )
        await bus.js.add_consumer(subjects.CHUNKS, config)
    await bus.js.publish(subjects.chunk_ready("small", "chunk_1"), b"{}")
    assert sorted((await ask(bus, "CONSUMER.NAMES.CHUNKS", offset=0))["consumers"]) == [
        "runner-Qwen=2fQwen3-4B",
        "runner-small",
    ]
    listed = (await ask(bus, "CONSUMER.LIST.CHUNKS", offset=0))["consumers"]
    waiting = {each["name"]: each["num_pending"] for each in listed}
    assert waiting == {"runner-Qwen=2fQwen3-4B": 0, "runner-small": 1}


async def test_sub_gets_every_batch_event_as_it_happens(bus: Bus) -> None:
    arrived: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def on_message(message: Any) -> None:
        arrived.set_result(message)

    # No JetStream request but a plain subscription, as `nats sub` makes it.
    await bus.client.subscribe("batch.>", cb=on_message)
    sent = headers("evt_1", "batch.completed", "scheduler", 1_795_458_000.0, "00-a-b-01")
    await bus.publish("batch.completed", encode(COMPLETED), "evt_1", sent)
    message = await asyncio.wait_for(arrived, 5.0)
    assert message.subject == "batch.completed"
    assert json.loads(message.data)["batch_id"] == "batch_1"
    described = set(re.findall(r"^\| `([A-Za-z-]+)` \|", PAGE, re.MULTILINE)) - set(documented())
    assert described == set(message.headers)


async def test_kv_ls_shows_who_is_running(bus: Bus) -> None:
    state = RunnerState(runner="host-1", engine="sim", models=(), status="ready")
    await presence.announce(bus, state)
    bucket = await bus.js.key_value("runners")
    assert await bucket.keys() == ["host-1"]
    found = await ask(bus, "STREAM.INFO.KV_runners", subjects_filter="$KV.runners.>")
    assert found["state"]["subjects"] == {"$KV.runners.host-1": 1}
    assert found["config"]["max_age"] == 15 * 10**9


@pytest.mark.parametrize("kind", STREAM_EVENTS, ids=lambda kind: kind.type)
def test_every_event_has_its_schema(kind: type[msgspec.Struct]) -> None:
    schema = Path(__file__).parents[3] / "schemas" / "events" / f"{kind.type}.json"  # type: ignore[attr-defined]
    assert schema.exists()


def test_the_body_shown_has_the_fields_of_the_event() -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    assert list(shown) == list(msgspec.to_builtins(COMPLETED))
    assert list(shown["usage"]) == list(msgspec.to_builtins(COMPLETED.usage))
    assert msgspec.convert(shown, BatchCompleted).batch_id
