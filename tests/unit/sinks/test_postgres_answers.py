"""Columns for answers: their names and types, and what is stored in them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_sinks.postgres.answer_columns import AnswerColumn, answer_columns, answer_values
from support.task_schemas import example, schema_of


def column(place: dict[str, Any], name: str = "p", **more: Any) -> AnswerColumn:
    return answer_columns(schema_of({name: place}, **more))[2]


def stored(value: Any, place: dict[str, Any], actual: str = "") -> Any:
    made = column(place)
    result = {"answer": {"p": value}, "schema": {"valid": True}}
    return answer_values(result, {made: actual or made.kind})[0]


def test_the_columns_of_an_example() -> None:
    columns = answer_columns(example("candidate_evaluation"))
    assert {each.name: each.kind for each in columns} == {
        "answer": "jsonb",
        "valid": "boolean",
        "answer_recommendation": "text",
        "answer_experience": "bigint",
        "answer_skills": "bigint",
        "answer_years": "double precision",
        "answer_meets_requirements": "boolean",
        "answer_strengths": "jsonb",
        "answer_concerns": "jsonb",
        "answer_reason": "text",
    }


def test_a_batch_without_a_schema_has_none() -> None:
    assert answer_columns(None) == ()


def test_an_answer_in_words_has_no_properties() -> None:
    columns = answer_columns(example("chat_completion"))
    assert [each.name for each in columns] == ["answer", "valid"]
    result = {"answer": "Of course.", "schema": {"valid": True}}
    assert answer_values(result, {each: each.kind for each in columns}) == ('"Of course."', True)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ({"type": "string"}, "text"),
        ({"type": ["null", "string"]}, "text"),
        ({"enum": ["a", None]}, "text"),
        ({"const": "a"}, "text"),
        ({"$ref": "#/$defs/n"}, "bigint"),
        ({"type": ["integer", "number"]}, "double precision"),
        ({"type": ["string", "integer"]}, "jsonb"),
        ({"type": "null"}, "jsonb"),
        ({"enum": ["a", 1]}, "jsonb"),
        ({"enum": [None]}, "jsonb"),
        ({"anyOf": [{"type": "string"}]}, "jsonb"),
        ({"type": "object"}, "jsonb"),
        ({}, "jsonb"),
    ],
)
def test_types(place: dict[str, Any], kind: str) -> None:
    assert column(place, **{"$defs": {"n": {"type": "integer"}}}).kind == kind


def test_a_property_that_no_column_can_be_named_after_has_none() -> None:
    columns = answer_columns(schema_of({"ä" * 29: {}, "a\0": {}, "x" * 56: {}, 'a "b"': {}}))
    assert [each.name for each in columns[2:]] == ["answer_" + "x" * 56, 'answer_a "b"']


@pytest.mark.parametrize(
    ("value", "place", "expected"),
    [
        ("a\0b", "string", "a\ufffdb"),
        (3, "integer", 3),
        (3.0, "integer", 3),
        (2**63, "integer", None),
        (-(2**63), "integer", None),
        (3.5, "integer", None),
        (True, "integer", None),
        (3, "number", 3.0),
        (10**400, "number", None),
        (1, "boolean", None),
        (False, "boolean", False),
        (7, "string", None),
        (["a"], "array", '["a"]'),
        ("not a list", "array", '"not a list"'),
        (None, "string", None),
    ],
)
def test_a_value_of_another_type_is_null(value: Any, place: str, expected: Any) -> None:
    """An invalid answer holds up no delivery."""
    found = stored(value, {"type": place})
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("place", ["integer", "number", "boolean", "array", "string"])
def test_what_a_column_of_text_or_jsonb_holds(place: str) -> None:
    """Somebody has made it so, since two schemas do not agree."""
    values: dict[str, Any] = {
        "integer": 3, "number": 1.5, "boolean": True, "array": ["a", None], "string": "a"
    }  # fmt: skip
    value = values[place]
    assert json.loads(stored(value, {"type": place}, "jsonb")) == value
    text = stored(value, {"type": place}, "text")
    assert text == "a" if place == "string" else json.loads(text) == value


def test_which_types_a_column_may_have() -> None:
    number = column({"type": "integer"})
    accepted = [
        each
        for each in ("bigint", "integer", "text", "jsonb", "json", "numeric", "double precision")
        if number.accepts(each)
    ]
    assert accepted == ["bigint", "text", "jsonb"]


@pytest.mark.parametrize("answer", [None, "words", [1], {}, {"p": None}])
def test_an_answer_without_the_property(answer: Any) -> None:
    made = column({"type": "string"})
    assert answer_values({"answer": answer, "schema": {"valid": False}}, {made: "text"}) == (None,)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON, st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]))
def test_whatever_stands_there_can_be_stored(value: Any, place: str) -> None:
    found = stored(value, {"type": place})
    kinds = {"integer": int, "number": float, "boolean": bool}
    assert found is None or type(found) is kinds.get(place, str)
    if place == "integer" and found is not None:
        assert -(2**63) <= found < 2**63
