"""The simulated model: the request alone decides."""

import hashlib
from typing import Any

import jsonschema
import msgspec
import pytest

from batch_gpu_runner.engines.base import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from batch_gpu_runner.engines.sim.answers import count_tokens, make_answer
from batch_gpu_runner.engines.sim.bodies import READERS
from batch_gpu_runner.engines.sim.faults import Fault, Faults
from batch_gpu_runner.engines.sim.options import SimOptions
from batch_gpu_runner.engines.sim.pace import Pace

USER = [{"role": "user", "content": "Say hi"}]
BODIES = {
    CHAT: {"model": "m", "messages": USER},
    COMPLETIONS: {"model": "m", "prompt": "Say hi"},
    EMBEDDINGS: {"model": "m", "input": ["a", "b"]},
    RESPONSES: {"model": "m", "input": "Say hi"},
}


def ask(endpoint: str, body: dict[str, Any]) -> Any:
    raw = msgspec.json.encode(body)
    digest = hashlib.blake2b(raw, digest_size=8).digest()
    return msgspec.json.decode(make_answer(endpoint, READERS[endpoint](raw), digest).body)


@pytest.mark.parametrize("endpoint", BODIES)
def test_the_same_request_has_the_same_answer(endpoint: str) -> None:
    body = BODIES[endpoint]
    assert ask(endpoint, body) == ask(endpoint, body)
    assert ask(endpoint, body)["model"] == "m"
    assert (
        ask(endpoint, body)["id" if endpoint != EMBEDDINGS else "data"]
        != (ask(endpoint, {**body, "user": "u"})["id" if endpoint != EMBEDDINGS else "data"])
    )


def test_usage_adds_up() -> None:
    for endpoint in (CHAT, COMPLETIONS):
        usage = ask(endpoint, BODIES[endpoint])["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens"] == count_tokens("Say hi")
    usage = ask(RESPONSES, BODIES[RESPONSES])["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert ask(EMBEDDINGS, BODIES[EMBEDDINGS])["usage"]["total_tokens"] == 2


def test_a_token_limit_cuts_the_answer() -> None:
    choice = ask(CHAT, {**BODIES[CHAT], "max_tokens": 3})["choices"][0]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["content"].split()) == 3
    assert ask(CHAT, {**BODIES[CHAT], "max_tokens": 999})["choices"][0]["finish_reason"] == "stop"


def test_every_choice_and_every_prompt_is_answered() -> None:
    body = {"model": "m", "prompt": ["a", "b"], "n": 2}
    assert [c["index"] for c in ask(COMPLETIONS, body)["choices"]] == [0, 1, 2, 3]
    assert len(ask(COMPLETIONS, {"model": "m", "prompt": [1, 2, 3]})["choices"]) == 1


def test_a_json_answer_is_json() -> None:
    body = {**BODIES[CHAT], "response_format": {"type": "json_object"}}
    content = ask(CHAT, body)["choices"][0]["message"]["content"]
    assert isinstance(msgspec.json.decode(content), dict)


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {}}, "required": ["a"]},
    {"$ref": "#/$defs/it", "$defs": {"it": {"type": "object", "properties": {}}}},
    {"type": "array", "items": {"type": "integer", "minimum": 3}, "minItems": 2},
    {"type": "string", "minLength": 40},
    {"type": "string", "maxLength": 3},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
    {"type": "number", "minimum": 2},
    {"type": "integer", "exclusiveMaximum": 0},
    {"type": ["boolean", "null"]},
    {"anyOf": [{"const": 'say "no"'}, {"type": "null"}]},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_an_answer_fits_the_schema_that_was_asked_for(
    endpoint: str, schema: dict[str, Any]
) -> None:
    form = {"name": "n", "strict": True, "schema": schema}
    if endpoint == CHAT:
        asked = {"response_format": {"type": "json_schema", "json_schema": form}}
        text = ask(CHAT, {**BODIES[CHAT], **asked})["choices"][0]["message"]["content"]
    else:
        asked = {"text": {"format": {"type": "json_schema", **form}}}
        text = ask(RESPONSES, {**BODIES[RESPONSES], **asked})["output"][0]["content"][0]["text"]
    jsonschema.validate(msgspec.json.decode(text), schema)


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"enum": []}, {"$ref": "http://x/y"}, {"minimum": "x"}, 7]
)
def test_a_schema_that_says_nothing_still_gets_json(schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = {**BODIES[CHAT], "response_format": form}
    msgspec.json.decode(ask(CHAT, body)["choices"][0]["message"]["content"])


def test_embeddings_have_the_asked_dimensions_and_differ() -> None:
    data = ask(EMBEDDINGS, {"model": "m", "input": ["a", "b"], "dimensions": 5})["data"]
    assert [len(vector["embedding"]) for vector in data] == [5, 5]
    assert data[0]["embedding"] != data[1]["embedding"]


def test_a_model_name_that_needs_quoting_stays_intact() -> None:
    assert ask(CHAT, {**BODIES[CHAT], "model": 'a"b\\%d'})["model"] == 'a"b\\%d'


@pytest.mark.parametrize(
    ("endpoint", "change"),
    [
        (CHAT, {"messages": []}),
        (CHAT, {"messages": "hi"}),
        (CHAT, {"max_tokens": 0}),
        (CHAT, {"temperature": 9}),
        (COMPLETIONS, {"prompt": None}),
        (EMBEDDINGS, {"input": {}}),
        (RESPONSES, {"max_output_tokens": "3"}),
    ],
)
def test_a_bad_request_is_refused(endpoint: str, change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.MsgspecError):
        ask(endpoint, {**BODIES[endpoint], **change})


def digests(count: int) -> list[bytes]:
    return [hashlib.blake2b(b"%d" % n, digest_size=8).digest() for n in range(count)]


def test_failures_are_a_share_and_always_the_same_ones() -> None:
    faults = Faults(SimOptions(fail_rate=0.1))
    struck = [faults.strike(["x"], digest, 1) for digest in digests(5_000)]
    assert struck == [faults.strike(["x"], digest, 1) for digest in digests(5_000)]
    assert 400 < struck.count(Fault.FAIL) < 600


def test_no_and_all_failures() -> None:
    none, every = Faults(SimOptions()), Faults(SimOptions(fail_rate=1))
    assert {none.strike(["x"], digest, 1) for digest in digests(100)} == {None}
    assert {every.strike(["x"], digest, 1) for digest in digests(100)} == {Fault.FAIL}


def test_patterns_are_searched_in_every_prompt() -> None:
    faults = Faults(SimOptions(crash_on="bo+m", hang_on="^wait", oom_on="huge"))
    assert faults.strike(["a", "a boom"], b"", 1) is Fault.CRASH
    assert faults.strike(["wait"], b"", 1) is Fault.HANG
    assert faults.strike(["is huge"], b"", 1) is Fault.OOM
    assert faults.strike(["do not wait"], b"", 1) is None


def test_too_many_tokens_in_flight_are_out_of_memory() -> None:
    faults = Faults(SimOptions(oom_above_tokens=100))
    assert faults.strike(["x"], b"", 100) is None
    assert faults.strike(["x"], b"", 101) is Fault.OOM


def test_a_rate_spaces_requests_out() -> None:
    pace = Pace(SimOptions(requests_per_s=10))
    assert [round(pace.ready_at(1, now=5.0), 6) for _ in range(3)] == [5.1, 5.2, 5.3]
    assert pace.ready_at(1, now=9.0) == pytest.approx(9.1)


def test_the_slower_of_two_rates_holds_and_the_first_token_takes_its_time() -> None:
    pace = Pace(SimOptions(requests_per_s=10, tokens_per_s=100, ttft_ms=500))
    assert pace.ready_at(50, now=0.0) == pytest.approx(0.5)
    assert pace.ready_at(50, now=0.0) == pytest.approx(1.0)
    assert pace.ready_at(1, now=2.0) == pytest.approx(2.5)


def test_without_rates_answers_are_instant() -> None:
    assert Pace(SimOptions()).is_instant
    assert not Pace(SimOptions(ttft_ms=1)).is_instant
