"""The inputs and questions of a task schema: do they fit one another, and the answer?"""

from collections.abc import Iterator

from batch_common.json_pointer import pointer, steps
from batch_common.task_schema import CHOICES, LAST_USER_MESSAGE, Problem, Question, TaskSchema
from batch_common.task_schema_places import has_place
from batch_common.task_schema_text import plain, writable


def problems_of_parts(schema: TaskSchema) -> Iterator[Problem]:
    """Of one whose form is right."""
    yield from _of_names(schema)
    for n, shown in enumerate(schema.inputs):
        if shown.source != LAST_USER_MESSAGE and (said := _no_pointer(shown.source)):
            yield Problem(f"/inputs/{n}/from", f"{said}, or {LAST_USER_MESSAGE}")
    for n, question in enumerate(schema.questions):
        yield from _of_question(schema, question, f"/questions/{n}")


def _of_names(schema: TaskSchema) -> Iterator[Problem]:
    names = [(f"/inputs/{n}/name", each.name) for n, each in enumerate(schema.inputs)]
    names += [(f"/questions/{n}/name", each.name) for n, each in enumerate(schema.questions)]
    seen: set[str] = set()
    for at, name in names:
        if name in seen:
            yield Problem(at, f"{name!r} is there already; inputs and questions share their names")
        seen.add(name)


def _of_question(schema: TaskSchema, question: Question, at: str) -> Iterator[Problem]:
    if said := _of_source(schema, question.source):
        yield Problem(f"{at}/from", said)
    elif question.type in CHOICES and not question.options:
        said = "it has no options: list them, or take it `from` a place that has an `enum`"
        yield Problem(at, said)
    if question.options and question.type not in CHOICES:
        yield Problem(f"{at}/options", f"a question of type {question.type} has no options")
    yield from _of_options(question, at)


def _of_options(question: Question, at: str) -> Iterator[Problem]:
    """They may stand in the question, or in the `enum` of what it is predicted from."""
    seen: dict[str, str] = {}
    for option in question.options:
        shown = plain(writable(option))
        if shown in seen:
            same = f"{seen[shown]!a} and {option!a}"
            yield Problem(at, f"its options {same} are the same to a reviewer: change one")
        seen[shown] = option


def _of_source(schema: TaskSchema, source: str | None) -> str | None:
    """What is wrong with where the prediction is taken from."""
    if source is None or (said := _no_pointer(source)) is None:
        return None if source is None else _of_place(schema, source)
    return said


def _of_place(schema: TaskSchema, source: str) -> str | None:
    if schema.answer is None:
        return 'an answer in words has no places: give "", which is all of it' if source else None
    if has_place(schema.answer, source):
        return None
    known = ", ".join(pointer([name]) for name in schema.answer["properties"])
    return f"no answer has {source}; the first steps that it has are {known}"


def _no_pointer(text: str) -> str | None:
    try:
        steps(text)
    except ValueError as error:
        return str(error)
    return None
