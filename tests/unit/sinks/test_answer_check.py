"""Answers held against a task schema: what is flagged, and where."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from batch_common.task_schema import TaskSchema
from batch_sinks.answer import answer_text
from batch_sinks.answer_check import AnswerCheck
from support.task_schemas import example, schema_of

CLASSIFICATION = example("classification")
GOOD = {"label": "mixed", "confidence": "low"}


def chat(content: Any, finish_reason: str = "stop") -> dict[str, Any]:
    return {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": finish_reason,
            }
        ]
    }


def marked(body: Any, status: int = 200, schema: TaskSchema = CLASSIFICATION) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": body}
    result: dict[str, Any] = {"custom_id": "a", "response": response, "error": None}
    AnswerCheck(schema).mark([result])
    return result


def test_an_answer_that_follows_it_is_valid_and_decoded() -> None:
    result = marked(chat(json.dumps(GOOD)))
    assert result["answer"] == GOOD
    assert result["schema"] == {
        "name": "classification",
        "version": "1",
        "valid": True,
        "errors": [],
    }


def test_what_does_not_follow_it_is_flagged_with_its_place() -> None:
    result = marked(chat('{"label": "great", "confidence": 1}'))
    assert result["answer"] == {"label": "great", "confidence": 1}
    assert result["schema"]["valid"] is False
    assert {each["at"] for each in result["schema"]["errors"]} == {"/label", "/confidence"}
    assert "positive" in result["schema"]["errors"][0]["message"]


@pytest.mark.parametrize(
    "text", ["", "Sure!", '{"label": ', "```json\n{}\n```", '{"a": "\\ud800"}']
)
def test_what_is_not_json_is_flagged_and_no_answer(text: str) -> None:
    result = marked(chat(text))
    assert (result["answer"], result["schema"]["valid"]) == (None, False)
    [error] = result["schema"]["errors"]
    assert error["at"] == ""
    assert "not JSON" in error["message"]
    assert "cut off" not in error["message"]


def test_an_answer_that_was_cut_off_is_said_to_be() -> None:
    [error] = marked(chat('{"label": ', finish_reason="length"))["schema"]["errors"]
    assert "cut off" in error["message"]


@pytest.mark.parametrize(
    "body", [chat(None), {"choices": []}, {}, {"choices": "x"}, {"output": []}]
)
def test_a_response_without_text_is_flagged(body: Any) -> None:
    result = marked(body)
    assert (result["answer"], result["schema"]["valid"]) == (None, False)


def test_a_request_that_failed_is_neither_valid_nor_invalid() -> None:
    refused = marked({"error": {"message": "no"}}, status=400)
    unanswered: dict[str, Any] = {"custom_id": "a", "response": None, "error": {"code": "x"}}
    AnswerCheck(CLASSIFICATION).mark([unanswered])
    for result in (refused, unanswered):
        assert result["answer"] is None
        assert (result["schema"]["valid"], result["schema"]["errors"]) == (None, [])


def test_an_answer_in_words_is_its_text() -> None:
    result = marked(chat("Of course."), schema=example("chat_completion"))
    assert (result["answer"], result["schema"]["valid"]) == ("Of course.", True)


def test_of_many_errors_the_first_are_told() -> None:
    schema = schema_of({"tags": {"type": "array", "items": {"type": "integer"}}})
    errors = marked(chat(json.dumps({"tags": ["x" * 9000] * 50})), schema=schema)["schema"][
        "errors"
    ]
    assert len(errors) == 10
    assert errors[3]["at"] == "/tags/3"
    assert all(len(each["message"]) < 400 for each in errors)


def test_an_answer_may_be_nested_deeper_than_the_validator_goes() -> None:
    text = '{"a":' * 400 + "1" + "}" * 400
    assert marked(chat(text))["schema"]["valid"] is False


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (chat("hi"), "hi"),
        ({"choices": [{"text": "hi"}]}, "hi"),
        (
            {
                "output": [
                    {"type": "reasoning", "content": [{"type": "output_text", "text": "hm"}]},
                    {
                        "type": "message",
                        "content": [
                            {"type": "output_text", "text": "h"},
                            {"type": "refusal", "refusal": "no"},
                            {"type": "output_text", "text": "i"},
                        ],
                    },
                ]
            },
            "hi",
        ),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "hi"}]}}]}, None),
        ([], None),
        (None, None),
    ],
)
def test_where_the_text_is(body: Any, text: str | None) -> None:
    assert answer_text(body) == text


def test_answers_are_counted() -> None:
    def count(outcome: str) -> float:
        about = {"schema": "classification", "outcome": outcome}
        return REGISTRY.get_sample_value("vllm_batch_sinks_answers_total", about) or 0.0

    before = count("valid"), count("invalid")
    results = [
        {"response": {"status_code": status, "body": chat(text)}}
        for status, text in ((200, json.dumps(GOOD)), (200, "{}"), (200, "x"), (500, "{}"))
    ]
    AnswerCheck(CLASSIFICATION).mark(results)
    assert (count("valid") - before[0], count("invalid") - before[1]) == (1, 2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.one_of(JSON, JSON.map(lambda value: chat(json.dumps(value))), JSON.map(chat)))
def test_whatever_an_engine_answers_is_flagged(body: Any) -> None:
    """A delivery must not fail for what a model wrote."""
    assert marked(body)["schema"]["valid"] is False


@given(JSON)
def test_an_open_schema_takes_every_object(value: Any) -> None:
    text = json.dumps({"it": value}, allow_nan=False) if _is_json(value) else "NaN"
    assert marked(chat(text), schema=schema_of({"it": {}}))["schema"]["valid"] is _is_json(value)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
