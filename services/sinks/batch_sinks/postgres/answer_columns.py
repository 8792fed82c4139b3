"""Columns for what a batch's task schema says an answer has.

Each top-level property of the answer has one, `answer_<property>`, typed where the schema names
one type; `answer` has the whole of it and `valid` says whether it follows the schema.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from batch_common.json_pointer import pointer
from batch_common.task_schema import TaskSchema
from batch_common.task_schema_places import Answer, schema_at
from batch_sinks.results import Result
from batch_sinks.storable import storable, storable_json

_KINDS: Final = {
    "string": "text",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
}
# A column may be of one of these where its property has another: they hold every value.
_WIDE: Final = ("text", "jsonb")
# Of a name, in bytes; Postgres cuts longer ones off.
_MAX_NAME: Final = 63
_BIGINT: Final = 1 << 63
_DOUBLE: Final = int(sys.float_info.max)


class AnswerColumn(msgspec.Struct, frozen=True):
    """`path`: of the value in a result. `kind`: the type it is made with."""

    name: str
    kind: str
    path: tuple[str, ...]

    def accepts(self, actual: str) -> bool:
        """Whether a column of that type, as Postgres spells it, can be filled."""
        return actual == self.kind or actual in _WIDE


def answer_columns(schema: TaskSchema | None) -> tuple[AnswerColumn, ...]:
    """None for a batch without a schema. A property whose name is too long has no column."""
    if schema is None:
        return ()
    answer = schema.answer or {}
    named = ((f"answer_{name}", name) for name in answer.get("properties", {}))
    return (
        AnswerColumn("answer", "jsonb", ("answer",)),
        AnswerColumn("valid", "boolean", ("schema", "valid")),
        *(
            AnswerColumn(column, _kind(schema_at(answer, pointer([name]))), ("answer", name))
            for column, name in named
            if _can_be_named(column)
        ),
    )


def _can_be_named(column: str) -> bool:
    return "\0" not in column and len(column.encode("utf-8", "surrogatepass")) <= _MAX_NAME


def _kind(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "jsonb"
    said = schema.get("type", [])
    types = {said} if isinstance(said, str) else {*said}
    types.discard("null")
    if not types and _are_texts(schema):
        types = {"string"}
    if types == {"integer", "number"}:
        types = {"number"}
    return _KINDS.get(types.pop(), "jsonb") if len(types) == 1 else "jsonb"


def _are_texts(schema: Answer) -> bool:
    """An `enum` or a `const` needs no type beside it."""
    allowed = [each for each in schema.get("enum", [schema.get("const")]) if each is not None]
    return bool(allowed) and all(isinstance(each, str) for each in allowed)


def answer_values(result: Result, columns: Mapping[AnswerColumn, str]) -> tuple[Any, ...]:
    """`columns`: with the types that they have in the table.

    A value that an invalid answer has in a column of another type is null, as is one that is not
    there: `answer` has them all.
    """
    return tuple(
        _stored(_found(result, column.path), column.kind, actual)
        for column, actual in columns.items()
    )


def _found(result: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        result = result.get(step) if isinstance(result, dict) else None
    return result


def _stored(value: Any, kind: str, actual: str) -> Any:
    fitting = _fitting(value, kind)
    if fitting is None or (kind == actual and kind not in _WIDE):
        return fitting
    if actual == "text" and isinstance(fitting, str):
        return storable(fitting)
    return storable_json(fitting).decode()


def _fitting(value: Any, kind: str) -> Any:
    """None for a value of another kind."""
    match kind, value:
        case "jsonb", _:
            return value
        case ("text", str()) | ("boolean", bool()):
            return value
        case ("bigint" | "double precision", bool()):
            return None
        case "bigint", int() | float():
            # 2.0 is an integer in JSON Schema.
            return int(value) if value == int(value) and abs(value) < _BIGINT else None
        case "double precision", int() | float():
            return float(value) if abs(value) <= _DOUBLE else None
    return None
