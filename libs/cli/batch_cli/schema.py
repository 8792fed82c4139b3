"""The work of `schema check`, `schema list` and `schema new`."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from batch_common.config import Schemas
from batch_common.config_file import load_config
from batch_common.errors import StartError, TaskSchemaError
from batch_common.task_schema import TaskSchema
from batch_common.task_schema_file import schemas_folder
from batch_common.task_schema_folder import TaskSchemaFolder, read_task_schema


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schema by its name. `problem`: the first, of one that is not valid."""

    name: str
    file: str
    built_in: bool
    version: str = ""
    title: str = ""
    problem: str = ""


def check(args: argparse.Namespace) -> int:
    """1 when a file is not valid; all of them are looked at."""
    valid = [_is_valid(Path(name)) for name in args.files]
    return 0 if all(valid) else 1


def _is_valid(path: Path) -> bool:
    try:
        schema = read_task_schema(path)
    except TaskSchemaError as error:
        for problem in error.problems:
            print(f"{path}: {problem}", file=sys.stderr)
        return False
    print(f"{path}: valid; {_summary(schema)}")
    return True


def _summary(schema: TaskSchema) -> str:
    properties = (schema.answer or {}).get("properties", {})
    answer = "in words" if schema.answer is None else f"with {_count(properties, 'property')}"
    inputs, questions = _count(schema.inputs, "input"), _count(schema.questions, "question")
    return f"an answer {answer}, {inputs}, {questions}"


def _count(things: Any, name: str) -> str:
    plural = name.removesuffix("y") + "ies" if name.endswith("y") else f"{name}s"
    return f"{len(things)} {name if len(things) == 1 else plural}"


def list_schemas(args: argparse.Namespace) -> int:
    """A table, or an object a line."""
    overrides = {"schemas": {"folder": args.folder}} if args.folder else {}
    config = load_config(Path(args.config) if args.config else None, overrides=overrides)
    found = [_listed(name, file) for name, file in TaskSchemaFolder(config.schemas).files().items()]
    for line in _json(found) if args.json else _table(found):
        print(line)
    return 0


def _listed(name: str, file: Path) -> Listed:
    built_in = file.parent == schemas_folder() / "examples"
    try:
        schema = read_task_schema(file)
    except TaskSchemaError as error:
        return Listed(name, str(file), built_in, problem=str(error.problems[0]))
    return Listed(name, str(file), built_in, schema.version, schema.title)


def _json(found: list[Listed]) -> Iterator[str]:
    return (msgspec.json.encode(each).decode() for each in found)


def _table(found: list[Listed]) -> Iterator[str]:
    rows = [("NAME", "VERSION", "FROM", "TITLE")]
    for each in found:
        told = f"NOT VALID {each.problem}" if each.problem else each.title
        place = "built in" if each.built_in else each.file
        rows.append((each.name, each.version or "-", place, told))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, last in rows:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join([*padded, last]).rstrip()


def new(args: argparse.Namespace) -> int:
    """Raises StartError for a file that is there already, or a folder that is not."""
    path = Path(args.folder) / f"{args.name}.json"
    content = {**_source(args.source), "name": args.name}
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except FileExistsError as error:
        raise StartError(f"{path} is there already: choose another name") from error
    except OSError as error:
        raise StartError(f"{path} cannot be written: {error.strerror}") from error
    print(path)
    print(
        f"next: edit it, then `{shlex.join(['vllm-batch', 'schema', 'check', str(path)])}`; "
        f"gateways whose schemas.folder is {path.parent.absolute()} know it as {args.name}",
        file=sys.stderr,
    )
    return 0


def _source(name: str | None) -> dict[str, Any]:
    """Of a built-in one or the template, in the order of its file."""
    if name is None:
        base = json.loads((schemas_folder() / "base_schema.json").read_text("utf-8"))
        template: dict[str, Any] = base["examples"][0]
        return template
    built_in = TaskSchemaFolder(Schemas()).files()
    if name not in built_in:
        raise StartError(f"there is no built-in schema {name!r}: choose from {', '.join(built_in)}")
    example: dict[str, Any] = json.loads(built_in[name].read_text("utf-8"))
    return example
