"""Task schemas as labelling interfaces, and answers as predictions that fit them."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from batch_common.task_schema import Input, Question, TaskSchema
from batch_common.task_schema_file import parse_task_schema
from batch_sinks.label_studio.interface import make_interface
from batch_sinks.label_studio.predictions import make_regions
from batch_sinks.label_studio.projects import lacks, make_title
from batch_sinks.label_studio.tasks import default_schema

EXAMPLES = sorted((Path(__file__).parents[3] / "schemas" / "examples").glob("*.json"))
NASTY = 'a "b" <c> & \'d\' $e $10-20 ${f}\x07 \n🙂 name="g"'


def example(name: str) -> TaskSchema:
    [path] = [path for path in EXAMPLES if path.stem == name]
    return parse_task_schema(path.read_bytes(), path.name)


def view(schema: TaskSchema) -> Element:
    return fromstring(make_interface(schema))  # noqa: S314 - our own


def one(question: Question) -> TaskSchema:
    return TaskSchema(name="one", answer={"type": "object"}, questions=(question,))


def question(kind: str, **more: object) -> Question:
    return Question(name="q", title="Q", type=kind, source="/q", **more)


def predicted(question: Question, answer: object) -> object:
    """The value of the one region; None: there is none."""
    regions = make_regions(one(question), {"q": answer})
    return regions[0]["value"] if regions else None


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_names_are_unique_and_every_question_is_about_something_shown(path: Path) -> None:
    tree = view(parse_task_schema(path.read_bytes(), path.name))
    names = [tag.get("name") for tag in tree if tag.get("name")]
    assert len(names) == len(set(names))
    assert {tag.get("toName") for tag in tree if tag.get("toName")} <= set(names)


def test_a_classification_shows_the_text_and_asks_for_the_label() -> None:
    tree = view(example("classification"))
    assert [tag.get("value") for tag in tree.iter("Text")] == ["$text", "$answer"]
    [label] = tree.iter("Choices")
    assert label.attrib == {
        "name": "label",
        "toName": "model-answer",
        "required": "true",
        "choice": "single",
        "showInline": "true",
    }
    options = ["positive", "negative", "neutral", "mixed"]
    assert [choice.get("value") for choice in label] == options


def test_titles_and_options_are_taken_as_they_are() -> None:
    """Nothing in them is markup, and no $ a variable of Label Studio's."""
    schema = TaskSchema(
        name="nasty",
        inputs=(Input(name="text", title=NASTY, source=""),),
        questions=(
            Question(name="q", title=NASTY, type="choice", options=(NASTY, "plain"), source=""),
        ),
    )
    tree = view(schema)
    for header in (tree[0], tree[4]):
        shown = header.get("value") or ""
        assert not re.search(r"\$[\w\[{]", shown)
        assert shown.replace("\u2060", "") == NASTY.replace("\x07", "\ufffd")
    [nasty, plain] = tree.iter("Choice")
    assert nasty.get("alias") == NASTY.replace("\x07", "\ufffd")
    assert plain.attrib == {"value": "plain"}
    [region] = make_regions(schema, NASTY)
    assert region["value"] == {"choices": [nasty.get("alias")]}


def test_an_input_with_a_name_of_ours_has_a_column_of_its_own() -> None:
    inputs = tuple(Input(name=name, title=name, source="") for name in ("answer", "answer_", "x"))
    tree = view(TaskSchema(name="inputs", inputs=inputs))
    assert [tag.get("value") for tag in tree.iter("Text")] == [
        "$answer__",
        "$answer_",
        "$x",
        "$answer",
    ]


ALL = TaskSchema(
    name="all",
    inputs=tuple(
        Input(name=show, title=show, source="", show=show)
        for show in ("text", "chat", "html", "image", "json")
    ),
    questions=tuple(
        Question(name=kind, title=kind, type=kind, options=options)
        for kind, options in (
            ("choice", ("a",)),
            ("choices", ("a", "b")),
            ("rating", ()),
            ("number", ()),
            ("text", ()),
            ("boolean", ()),
        )
    ),
)


def test_every_kind_of_input_and_question_has_its_tag() -> None:
    tags = [tag.tag for tag in view(ALL) if tag.tag != "Header"]
    inputs = ["Text", "Paragraphs", "HyperText", "Image", "Text", "Text"]
    assert tags == [*inputs, "Choices", "Choices", "Rating", "Number", "TextArea", "Choices"]


@pytest.mark.parametrize(
    ("asked", "answer", "value"),
    [
        (question("choice", options=("a", "b")), "a", {"choices": ["a"]}),
        (question("choice", options=("a", "b")), "c", None),
        (question("choice", options=("a", "b")), ["a"], None),
        (question("choices", options=("a", "b")), ["b", "c", "a", "b"], {"choices": ["b", "a"]}),
        (question("choices", options=("a", "b")), [], None),
        (question("choices", options=("a", "b")), "a", None),
        (question("boolean"), True, {"choices": ["yes"]}),
        (question("boolean"), False, {"choices": ["no"]}),
        (question("boolean"), 1, None),
        (question("rating", max=5), 5, {"rating": 5}),
        (question("rating", max=5), 4.0, {"rating": 4}),
        (question("rating", max=5), 6, None),
        (question("rating", max=5), 0, None),
        (question("rating", max=5), 4.5, None),
        (question("rating", max=5), True, None),
        (question("number"), 2.5, {"number": 2.5}),
        (question("number"), "2.5", None),
        (question("number"), float("inf"), None),
        (question("text"), "said", {"text": ["said"]}),
        (question("text"), {"a": 1}, {"text": ['{"a": 1}']}),
        (question("text"), " ", None),
        (question("text"), None, None),
    ],
)
def test_only_what_fits_a_question_is_predicted(
    asked: Question, answer: object, value: object
) -> None:
    assert predicted(asked, answer) == value


def test_regions_name_their_question() -> None:
    [region] = make_regions(example("classification"), {"label": "neutral", "confidence": "low"})
    assert region == {
        "id": "label",
        "from_name": "label",
        "to_name": "model-answer",
        "type": "choices",
        "value": {"choices": ["neutral"]},
    }


@pytest.mark.parametrize("answer", [None, "not json", 3, [], {}, {"label": None}])
def test_an_answer_of_another_shape_predicts_nothing(answer: object) -> None:
    assert make_regions(example("classification"), answer) == []


def test_an_answer_in_words_is_the_text_itself() -> None:
    regions = make_regions(example("chat_completion"), "in words")
    assert [(region["from_name"], region["value"]) for region in regions] == [
        ("better_answer", {"text": ["in words"]})
    ]


def test_titles_of_projects_tell_schemas_and_tenants_apart() -> None:
    schemas = [example("classification"), example("chat_completion"), default_schema("/v1/x")]
    titles = {make_title(schema, tenant) for schema in schemas for tenant in ("default", "acme")}
    assert len(titles) == 6
    long = make_title(TaskSchema(name="n", title="long " * 100), "tenant" * 10)
    assert all(3 <= len(title) <= 50 for title in {*titles, long})
    assert make_title(schemas[0], "default") == make_title(example("classification"), "default")


def test_an_interface_that_lacks_a_question_or_an_option_is_found_out() -> None:
    schema = one(question("choice", options=("a", "b")))
    to_name = ["model-answer"]
    control = {"type": "Choices", "to_name": to_name, "inputs": [], "labels": ["b", "a", "c"]}
    assert lacks({"q": control, "other": {}}, schema) is None
    missing = "question 'q' of type Choices about model-answer"
    for other in ({}, {"type": "Rating", "to_name": to_name}, control | {"to_name": ["x"]}):
        assert lacks({"q": other}, schema) == missing
    assert lacks({"q": control | {"labels": ["a"]}}, schema) == "option 'b' of the question 'q'"
