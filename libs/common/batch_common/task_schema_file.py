"""Reading a task schema from its file, and saying where in it something is wrong."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from batch_common.errors import TaskSchemaError
from batch_common.task_schema import Problem, TaskSchema
from batch_common.task_schema_answer import problems_of_answer, with_options
from batch_common.task_schema_parts import problems_of_parts
from batch_common.validation import problem_of

MAX_BYTES: Final = 64 << 10
"""A schema goes to the engine with every request."""

_MAX_LEVELS: Final = 100


def schemas_folder() -> Path:
    """Where the schemas that come with this package are: in a wheel, and in a source tree."""
    packaged = Path(str(files("batch_common"))) / "_schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "schemas"


def parse_task_schema(data: bytes, where: str, name: str | None = None) -> TaskSchema:
    """Raises TaskSchemaError with everything that is wrong. `where` names the file in its words.

    name: the one it must have; None: any
    """
    if len(data) > MAX_BYTES:
        problem = Problem("", f"it is larger than {MAX_BYTES} bytes, the most that is allowed")
        raise TaskSchemaError(where, [problem])
    document = _decoded(data, where)
    if found := list(_of_form(document)):
        raise TaskSchemaError(where, found)
    schema = with_options(msgspec.convert(document, TaskSchema))
    if found := [
        *_of_file(schema, name),
        *problems_of_answer(schema.answer),
        *problems_of_parts(schema),
    ]:
        raise TaskSchemaError(where, found)
    return schema


def _decoded(data: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TaskSchemaError(where, [Problem("", _not_json(data, error))]) from None


def _not_json(data: bytes, error: Exception) -> str:
    """Python's own decoder counts in lines."""
    try:
        json.loads(data)
    except json.JSONDecodeError as said:
        return f"it is not JSON: {said.msg} in line {said.lineno}, column {said.colno}"
    except (ValueError, RecursionError):
        pass  # another encoding, an integer of more digits than Python reads, too many levels
    return f"it is not JSON: {error}"


@cache
def _base() -> Draft202012Validator:
    text = (schemas_folder() / "base_schema.json").read_text("utf-8")
    return Draft202012Validator(text, offline=True)


def _of_form(document: Any) -> Iterator[Problem]:
    if _is_deeper(document, _MAX_LEVELS):
        yield Problem("", f"it is nested too deeply: more than {_MAX_LEVELS} levels")
        return
    yield from (problem_of(_plainest(error)) for error in _base().iter_errors(document))


def _is_deeper(document: Any, levels: int) -> bool:
    """The validator takes 255."""
    level = [document]
    for _ in range(levels):
        level = [inner for value in level for inner in _inner(value)]
    return bool(level)


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _plainest(error: ValidationError) -> ValidationError:
    """Of alternatives the first: `type` is one name in JSON Schema, or else a list of them."""
    while isinstance(error.kind, ValidationErrorKind.AnyOf) and error.kind.context[0]:
        error = error.kind.context[0][0]
    return error


def _of_file(schema: TaskSchema, name: str | None) -> Iterator[Problem]:
    if name is not None and schema.name != name:
        said = f"{schema.name!r} stands in {name}.json: name and file must be the same"
        yield Problem("/name", said)
