"""The model's answers as predictions: only what a question can take, for one that does not fit may
have Label Studio refuse the whole import.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from batch_common.json_pointer import resolve
from batch_common.task_schema import Question, TaskSchema
from batch_common.task_schema_text import writable
from batch_sinks.label_studio.interface import (
    CONTROLS,
    NO,
    SHOWN_ANSWER,
    YES,
    options_of,
)


def make_regions(schema: TaskSchema, answer: Any) -> list[dict[str, Any]]:
    """One for each question that the answer says something to, in Label Studio's form.

    answer: decoded JSON, or one string where the schema has the model answer in words
    """
    return [
        {
            "id": question.name,
            "from_name": question.name,
            "to_name": SHOWN_ANSWER,
            "type": CONTROLS[question.type].lower(),
            "value": value,
        }
        for question, value in _values(schema, answer)
    ]


def _values(schema: TaskSchema, answer: Any) -> Iterator[tuple[Question, dict[str, Any]]]:
    for question in schema.questions:
        if question.source is None:
            continue
        try:
            found = resolve(answer, question.source)
        except (LookupError, ValueError):
            continue
        if (value := _value(question, found)) is not None:
            yield question, value


def _value(question: Question, found: Any) -> dict[str, Any] | None:
    """None: no answer to this question."""
    return _READERS[question.type](question, found)


def _choice(question: Question, found: Any) -> dict[str, Any] | None:
    return _choices(question, [found])


def _choices(question: Question, found: Any) -> dict[str, Any] | None:
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    options = options_of(question)
    chosen = list(dict.fromkeys(name for name in map(writable, names) if name in options))
    return {"choices": chosen} if chosen else None


def _boolean(_: Question, found: Any) -> dict[str, Any] | None:
    return {"choices": [YES if found else NO]} if isinstance(found, bool) else None


def _rating(question: Question, found: Any) -> dict[str, Any] | None:
    fits = _is_number(found) and found in range(1, question.max + 1)
    return {"rating": int(found)} if fits else None


def _number(_: Question, found: Any) -> dict[str, Any] | None:
    # JSON has integers that no float can hold, and Python refuses to convert those.
    fits = _is_number(found) and abs(found) <= sys.float_info.max
    return {"number": found} if fits else None


def _text(_: Question, found: Any) -> dict[str, Any] | None:
    if found is None:
        return None
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return {"text": [text]} if text.strip() else None


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


_READERS: Final[Mapping[str, Callable[[Question, Any], dict[str, Any] | None]]] = {
    "choice": _choice,
    "choices": _choices,
    "boolean": _boolean,
    "rating": _rating,
    "number": _number,
    "text": _text,
}
