"""Task schema files: what is taken, and where an error is said to be."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.errors import TaskSchemaError
from batch_common.task_schema import (
    Input,
    Question,
    TaskSchema,
    decode_task_schema,
    encode_task_schema,
)
from batch_common.task_schema_file import MAX_BYTES, parse_task_schema, schemas_folder

EXAMPLES = sorted((schemas_folder() / "examples").glob("*.json"))
BASE = json.loads((schemas_folder() / "base_schema.json").read_text("utf-8"))
Json = dict[str, Any]


def template() -> Json:
    copied: Json = json.loads(json.dumps(BASE["examples"][0]))
    return copied


def problems(document: Any, name: str | None = None) -> list[tuple[str, str]]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(TaskSchemaError) as refused:
        parse_task_schema(data, "task.json", name)
    return [(problem.at, problem.message) for problem in refused.value.problems]


def test_the_examples_are_there() -> None:
    names = [path.stem for path in EXAMPLES]
    assert names == ["candidate_evaluation", "chat_completion", "classification"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_comes_back_equal(path: Any) -> None:
    schema = parse_task_schema(path.read_bytes(), str(path), path.stem)
    assert schema.title
    assert schema.description
    assert schema.inputs
    assert schema.questions
    assert decode_task_schema(encode_task_schema(schema)) == schema


def test_properties_stay_in_their_order() -> None:
    """Models write them in this order: a reason before its label is another task."""
    properties = {name: {} for name in ("reason", "label", "a", "z", "b")}
    document = {"name": "x", "answer": {"type": "object", "properties": properties}}
    kept = encode_task_schema(parse_task_schema(json.dumps(document).encode(), "x"))
    answer = decode_task_schema(kept).answer
    assert answer is not None
    assert list(answer["properties"]) == list(properties)


def test_the_documented_one_is_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "SCHEMAS.md").read_text("utf-8")
    [text] = re.findall(
        r'^```json\n(\{\n  "name": "tickets".*?)^```', page, re.MULTILINE | re.DOTALL
    )
    assert parse_task_schema(text.encode(), "SCHEMAS.md", "tickets").questions[0].options


def test_the_template_is_valid() -> None:
    assert parse_task_schema(json.dumps(template()).encode(), "template").name == "NAME"


def test_the_meta_schema_is_one_and_knows_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(BASE)
    fields = {"input": Input, "question": Question}
    for name, kind in fields.items():
        assert set(BASE["$defs"][name]["properties"]) == set(kind.__struct_encode_fields__)
    assert set(BASE["properties"]) == {"$schema", *TaskSchema.__struct_encode_fields__}


def test_defaults_of_the_meta_schema_are_those_of_the_code() -> None:
    question = msgspec.convert({"name": "q", "title": "Q", "type": "rating"}, Question)
    shown = msgspec.convert({"name": "i", "title": "I", "from": ""}, Input)
    said = BASE["$defs"]["question"]["properties"]
    assert (question.max, question.required) == (said["max"]["default"], False)
    assert shown.show == BASE["$defs"]["input"]["properties"]["show"]["default"]


@pytest.mark.parametrize(
    ("spoil", "at", "words"),
    [
        (lambda d: d["answer"]["properties"]["label"].update(type="strin"),
         "/answer/properties/label/type", '"string"'),
        (lambda d: d["answer"]["properties"].update({"a/b~": {"minimum": "1"}}),
         "/answer/properties/a~1b~0/minimum", "number"),
        (lambda d: d["answer"].update(type="array"), "/answer/type", "object"),
        (lambda d: d["answer"].update(required="label"), "/answer/required", "array"),
        (lambda d: d["answer"]["properties"].update(x={"pattern": "("}),
         "/answer/properties/x/pattern", "regex"),
        (lambda d: d["answer"]["properties"].update(x={"$ref": "http://example.com/x"}),
         "/answer/properties/x/$ref", "nothing is fetched"),
        (lambda d: d["answer"]["properties"].update(x={"$ref": "#/defs/x"}),
         "/answer/properties/x/$ref", "leads nowhere"),
        (lambda d: d["questions"][0].update({"from": "/labl"}), "/questions/0/from", "/label, /re"),
        (lambda d: d["questions"][0].update({"from": "label"}), "/questions/0/from", "begin with"),
        (lambda d: d["questions"][0].update(type="choises"), "/questions/0/type", '"choice"'),
        (lambda d: d["questions"][0].update({"from": "/reason"}), "/questions/0", "no options"),
        (lambda d: d["questions"][0].update(options=[]), "/questions/0/options", "1 item"),
        (lambda d: d["questions"][1].update(options=["a"]), "/questions/1/options", "text has no"),
        (lambda d: d["questions"][1].update(name="text"), "/questions/1/name", "already"),
        (lambda d: d["inputs"][0].update({"from": "messages"}), "/inputs/0/from", "last_user_mess"),
        (lambda d: d["inputs"][0].update(name="a b"), "/inputs/0/name", "does not match"),
        (lambda d: d.update(name="../etc/passwd"), "/name", "does not match"),
        (lambda d: d.pop("name"), "", '"name" is a required property'),
        (lambda d: d.update(anwser={}), "", "anwser"),
        (lambda d: d.pop("answer"), "/questions/0/from", "answer in words"),
    ],
)  # fmt: skip
def test_an_error_names_its_place(spoil: Callable[[Json], Any], at: str, words: str) -> None:
    document = template()
    spoil(document)
    [(where, message)] = problems(document)
    assert where == at
    assert words in message


def test_every_problem_is_told_and_the_message_names_the_first() -> None:
    document = template() | {"name": "!", "title": 1}
    assert [at for at, _ in problems(document)] == ["/name", "/title"]
    with pytest.raises(TaskSchemaError, match=r"^task.json: at /name: .* \(and 1 more\)$"):
        parse_task_schema(json.dumps(document).encode(), "task.json")


def test_the_name_is_the_files() -> None:
    [(at, message)] = problems(template(), "sentiment")
    assert at == "/name"
    assert "sentiment.json" in message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{\n "name": "x",\n}', "line 3, column 1"),
        (b"", "line 1, column 1"),
        (b"\xff", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b"[]", "object"),
        (b"5", "object"),
        (b" " * (MAX_BYTES + 1), str(MAX_BYTES)),
    ],
)
def test_what_is_no_json_object_is_said_to_be_none(data: bytes, words: str) -> None:
    [(at, message)] = problems(data)
    assert at == ""
    assert words in message


def test_a_schema_may_be_nested_too_deeply() -> None:
    answer: Json = {"type": "object"}
    for _ in range(200):
        answer = {"type": "object", "properties": {"a": answer}}
    [(at, message)] = problems({"name": "deep", "answer": answer})
    assert (at, "deeply" in message) == ("", True)


def question(answer_place: Json, **question: Any) -> Question:
    document = {
        "name": "x",
        "answer": {
            "type": "object",
            "properties": {"p": answer_place},
            "$defs": {"tag": {"enum": ["a", "b"]}},
        },
        "questions": [{"name": "q", "title": "Q", "from": "/p", **question}],
    }
    return parse_task_schema(json.dumps(document).encode(), "x").questions[0]


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ({"enum": ["a", "b"]}, "choice"),
        ({"$ref": "#/$defs/tag"}, "choice"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "choices"),
        ({"type": "array", "items": {"$ref": "#/$defs/tag"}}, "choices"),
    ],
)
def test_options_that_are_left_out_are_the_answers(place: Json, kind: str) -> None:
    assert question(place, type=kind).options == ("a", "b")


def test_options_that_are_given_stay() -> None:
    assert question({"enum": ["a", "b"]}, type="choice", options=["c"]).options == ("c",)


def test_references_in_data_are_none() -> None:
    assert question({"const": {"$ref": "http://example.com"}}, type="text").type == "text"


def test_a_prediction_may_come_from_what_the_schema_leaves_open() -> None:
    open_answer = {"type": "object", "properties": {"a": {}}, "allOf": [{"properties": {"p": {}}}]}
    document = {
        "name": "x",
        "answer": open_answer,
        "questions": [
            {"name": "q", "title": "Q", "type": "text", "from": "/p/0/deep"},
            {"name": "r", "title": "R", "type": "text", "from": "/a/b"},
        ],
    }
    assert len(parse_task_schema(json.dumps(document).encode(), "x").questions) == 2


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "$ref", "enum", "from", "name", "options"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(where=st.sampled_from([*template(), "strict"]), value=NESTED)
def test_whatever_stands_there_is_taken_or_refused(where: str, value: Any) -> None:
    """Never another exception: a user's file must not be the gateway's internal error."""
    with suppress(TaskSchemaError):
        schema = parse_task_schema(json.dumps(template() | {where: value}).encode(), "x")
        assert decode_task_schema(encode_task_schema(schema)) == schema


@pytest.mark.parametrize("step", ["9" * 5000, "-" + "9" * 5000])
def test_a_place_of_more_digits_than_python_reads_is_nowhere(step: str) -> None:
    """In a reference, and in what a prediction is from, by way of a reference."""
    answer = {
        "type": "object",
        "properties": {"a": {"enum": ["x"]}, "b": {"$ref": f"#/properties/a/enum/{step}"}},
    }
    [(at, message)] = problems({"name": "x", "answer": answer})
    assert (at, "leads nowhere" in message) == ("/answer/properties/b/$ref", True)


def test_a_number_of_more_digits_than_python_reads_is_said_to_be_out_of_range() -> None:
    [(at, message)] = problems(b'{"name": "x", "max": ' + b"9" * 5000 + b"}")
    assert (at, "out of range" in message) == ("", True)


@pytest.mark.parametrize("same", [["\u0001", "\u0002"], ["$x", "$\u2060x"], ["\ufffd", "\0"]])
@pytest.mark.parametrize("kind", ["choice", "choices"])
def test_options_that_a_reviewer_cannot_tell_apart_are_refused(same: list[str], kind: str) -> None:
    question = {"name": "q", "title": "Q", "type": kind, "options": ["a", *same]}
    answer = {"type": "object", "properties": {"a": {}}}
    listed = {"name": "x", "answer": answer, "questions": [question]}
    [(at, message)] = problems(listed)
    assert (at, "the same to a reviewer" in message) == ("/questions/0", True)
    assert message.isascii()
