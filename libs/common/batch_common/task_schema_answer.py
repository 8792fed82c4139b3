"""The answer's JSON Schema within a task schema: can it be used, and what is at a place of it?"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from jsonschema_rs import Draft202012Validator, ValidationError

from batch_common.json_pointer import pointer, resolve, steps, walk
from batch_common.task_schema import CHOICES, Problem, Question, TaskSchema
from batch_common.task_schema_places import Answer, referred, schema_at
from batch_common.validation import problem_of

# What stands below these is data, not schema.
_DATA: Final = frozenset({"const", "default", "enum", "examples"})


def problems_of_answer(answer: dict[str, Any] | None) -> list[Problem]:
    """Of one whose form is right: references and patterns are left."""
    if answer is None:
        return []
    if lost := [*_lost_references(answer)]:
        return lost
    try:
        Draft202012Validator(answer, offline=True)
    except ValidationError as error:
        return [problem_of(error, "/answer")]
    return []


def with_options(schema: TaskSchema) -> TaskSchema:
    """Options that are left out are the `enum` of the place that the prediction is from."""
    answer = schema.answer
    if answer is None:
        return schema
    filled = tuple(
        msgspec.structs.replace(question, options=_enumerated(answer, question))
        if question.type in CHOICES and not question.options
        else question
        for question in schema.questions
    )
    return msgspec.structs.replace(schema, questions=filled)


def _enumerated(answer: Answer, question: Question) -> tuple[str, ...]:
    """Empty where there is no `enum` of strings; of a list's items for several choices."""
    try:
        found = None if question.source is None else schema_at(answer, question.source)
    except ValueError:
        return ()
    if question.type == "choices" and isinstance(found, Mapping):
        found = referred(answer, found.get("items"))
    options = found.get("enum", []) if isinstance(found, Mapping) else []
    return tuple(options) if all(isinstance(option, str) for option in options) else ()


def _lost_references(answer: dict[str, Any]) -> Iterator[Problem]:
    for at, value in walk(answer):
        places = steps(at)
        if places[-1:] != ["$ref"] or not isinstance(value, str) or _DATA.intersection(places):
            continue
        if not value.startswith("#"):
            said = f"{value!r} leads out of this file, and nothing is fetched: begin it with #"
            yield Problem(pointer(["answer"]) + at, said)
        elif not _exists(answer, value[1:]):
            said = f"{value!r} leads nowhere: pointers are from `answer` on, as in #/$defs/NAME"
            yield Problem(pointer(["answer"]) + at, said)


def _exists(answer: Answer, fragment: str) -> bool:
    """Anchors are the validator's to look up."""
    if fragment and not fragment.startswith("/"):
        return True
    try:
        resolve(answer, fragment)
    except LookupError:
        return False
    return True
