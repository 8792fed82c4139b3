"""A task schema laid into requests, which keep what they say themselves."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.blobs import BlobStore
from batch_common.task_schema import TaskSchema
from batch_gpu_runner.engines.base import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from batch_gpu_runner.response_format import ResponseFormat
from support.chunks import make_chunk, make_ready

ANSWER = {"type": "object", "properties": {"label": {"enum": ["a", "ä"]}}}
SCHEMA = TaskSchema(name="labels", answer=ANSWER)
BODY = {"model": "m", "messages": [{"role": "user", "content": "hé"}], "temperature": 0.0}


def laid(body: Any, endpoint: str = CHAT, schema: TaskSchema = SCHEMA) -> Any:
    return json.loads(ResponseFormat(schema, endpoint).lay_into(json.dumps(body).encode()))


def test_a_chat_request_gets_it() -> None:
    form = {"name": "labels", "schema": ANSWER, "strict": True}
    assert laid(BODY) == {**BODY, "response_format": {"type": "json_schema", "json_schema": form}}


def test_a_request_of_responses_gets_it_in_its_own_place() -> None:
    form = {"type": "json_schema", "name": "labels", "schema": ANSWER, "strict": True}
    body = {"model": "m", "input": "hi", "text": {"verbosity": "low"}}
    assert laid(body, RESPONSES)["text"] == {"verbosity": "low", "format": form}
    assert laid({"model": "m", "input": "hi"}, RESPONSES)["text"] == {"format": form}


def test_strict_is_the_schemas_to_say() -> None:
    loose = msgspec.structs.replace(SCHEMA, strict=False)
    assert laid(BODY, schema=loose)["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    "own",
    [
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_object"}},
        {"guided_choice": ["a"]},
        {"structured_outputs": {"regex": "a+"}},
        {"grammar": "root ::= object"},
    ],
)
def test_a_request_with_a_form_of_its_own_keeps_it(own: dict[str, Any]) -> None:
    assert laid(BODY | own) == BODY | own


def test_so_does_one_of_responses() -> None:
    body = {"model": "m", "input": "hi", "text": {"format": {"type": "text"}}}
    assert laid(body, RESPONSES) == body


def test_null_is_no_form() -> None:
    assert laid(BODY | {"response_format": None})["response_format"]["type"] == "json_schema"
    assert laid({"input": "hi", "text": None}, RESPONSES)["text"]["format"]["name"] == "labels"
    assert laid({"input": "hi", "text": {"format": None}}, RESPONSES)["text"]["format"]


@pytest.mark.parametrize("endpoint", [COMPLETIONS, EMBEDDINGS])
def test_other_endpoints_have_no_place_for_it(endpoint: str) -> None:
    assert laid(BODY, endpoint) == BODY


def test_an_answer_in_words_has_no_form() -> None:
    assert laid(BODY, schema=TaskSchema(name="words")) == BODY


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON).filter(lambda body: "text" not in body))
def test_the_rest_of_a_request_stays_as_it_is(body: dict[str, Any]) -> None:
    assert {**laid(body), **body} == laid(body)
    assert set(laid(body)) - set(body) <= {"response_format"}


async def test_every_line_of_a_chunk_gets_it(blobs: BlobStore) -> None:
    chunk = make_chunk(blobs, make_ready(3), form=ResponseFormat(SCHEMA, CHAT))
    first, [again] = chunk.take(), chunk.take_lines([2])
    assert first is not None
    for request in (first, again):
        assert b'"response_format"' in request.body
