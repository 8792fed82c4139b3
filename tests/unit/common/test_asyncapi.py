"""The AsyncAPI document is what the code says, and says it of every message."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from batch_common import subjects
from batch_common.asyncapi import CHANNELS, document
from batch_common.events import STREAM_EVENTS
from batch_common.topology import streams

FILE = Path(__file__).parents[3] / "schemas" / "asyncapi.json"
TREE: dict[str, Any] = json.loads(document())


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_bytes() == document(), "run `make generated`"


def test_every_event_of_a_stream_is_there_once() -> None:
    told = [channel.message for channel in CHANNELS.values() if channel.stream]
    assert sorted(told, key=str) == sorted(STREAM_EVENTS, key=str)


def test_each_is_on_a_subject_of_its_stream() -> None:
    """Parameters stand for one token each, as `*` does."""
    patterns = {stream.name: stream.subjects or [] for stream in streams(1)}
    for channel in CHANNELS.values():
        if channel.stream:
            subject = re.sub(r"\{\w+\}", "x", channel.address)
            [pattern] = patterns[channel.stream]
            assert re.fullmatch(pattern.replace(".", r"\.").replace(">", ".+"), subject)


def test_addresses_are_those_that_are_used() -> None:
    assert CHANNELS["chunk.ready"].address == subjects.chunk_ready("m", "c").replace(
        "m.c", "{model}.{chunk}"
    )
    assert CHANNELS["dead"].address == "dead.{sink}"


def references(tree: Any) -> list[str]:
    match tree:
        case dict():
            own = [tree["$ref"]] if isinstance(tree.get("$ref"), str) else []
            return own + [found for value in tree.values() for found in references(value)]
        case list():
            return [found for value in tree for found in references(value)]
    return []


@pytest.mark.parametrize("reference", sorted(set(references(TREE))))
def test_every_reference_leads_somewhere(reference: str) -> None:
    found: Any = TREE
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    assert found
