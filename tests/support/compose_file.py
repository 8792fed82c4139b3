"""The compose files, as `docker compose` reads them: variables put in, one file over another."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
# ${NAME}, ${NAME:-default}, ${NAME:?message}: no other form is used.
REFERENCE: Final = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)(?::([-?])([^}]*))?\}")


class _Reset:
    """`!reset`: nothing stays of what the file below has there."""


class _Loader(yaml.SafeLoader):
    pass


_Loader.add_constructor("!reset", lambda *_: _Reset())


def read(*names: str) -> dict[str, Any]:
    """The files, the later over the earlier ones, with their variables as they stand."""
    tree: dict[str, Any] = {}
    for name in names:
        tree = _over(tree, _parsed(name))
    return tree


@functools.cache
def _parsed(name: str) -> dict[str, Any]:
    loader = _Loader((DEPLOY / name).read_text("utf-8"))
    tree: dict[str, Any] = loader.get_single_data()
    return tree


def _over(below: Any, above: Any) -> Any:
    match (below, above):
        case (dict(), dict()):
            merged = {**below}
            for key, value in above.items():
                if isinstance(value, _Reset):
                    del merged[key]
                else:
                    merged[key] = _over(merged[key], value) if key in merged else value
            return merged
        case (list(), list()):
            return [*below, *above]
    return above


def put_in(value: Any, environ: Mapping[str, str]) -> Any:
    """The same with the variables' values. Raises KeyError for a required one without."""
    match value:
        case str():
            return REFERENCE.sub(lambda found: _value(found, environ), value)
        case dict():
            return {key: put_in(item, environ) for key, item in value.items()}
        case list():
            return [put_in(item, environ) for item in value]
    return value


def _value(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    given = environ.get(name, "")
    if kind == "?" and not given:
        raise KeyError(f"{name}: {rest}")
    return given or (rest if kind == "-" else "")


def env_file(text: str) -> dict[str, str]:
    """As compose and systemd read these: `NAME=value`, perhaps in single quotes."""
    pairs = (line.split("=", 1) for line in text.splitlines() if line and line[0] not in "#;")
    return {name: value.removeprefix("'").removesuffix("'") for name, value in pairs}
