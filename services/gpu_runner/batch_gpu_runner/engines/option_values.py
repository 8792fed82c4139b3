"""Engine options as values of their types; errors say which option, what was given, what fits."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from batch_gpu_runner.engines.base import EngineOptionError

T = TypeVar("T", bound=msgspec.Struct)


def typed_options(engine: str, options: Mapping[str, str], kind: type[T]) -> T:
    """`options` as `-o key=value` gave them. Raises EngineOptionError."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in options.items():
        if key not in types:
            raise EngineOptionError(
                f"engine {engine} has no option {key!r}; it has {', '.join(types)}"
            )
        try:
            msgspec.convert(value, types[key], strict=False)
        except msgspec.ValidationError:
            raise EngineOptionError(
                f"engine {engine}, option {key}: {value!r} does not fit; "
                f"give {allowed(inspect.type_info(types[key]))}"
            ) from None
    return msgspec.convert(options, kind, strict=False)


def allowed(kind: inspect.Type) -> str:
    """In words what a value of that type may be."""
    match kind:
        case inspect.UnionType(types=types):
            return " or ".join(allowed(t) for t in types if not isinstance(t, inspect.NoneType))
        case inspect.LiteralType(values=values):
            return " or ".join(map(str, values))
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_bounds(kind)}"
        case inspect.FloatType():
            return f"a number{_bounds(kind)}"
    return "text"


def _bounds(kind: Any) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge} to {kind.le}"
    if kind.gt is not None:
        return f" above {kind.gt}"
    return "" if kind.ge is None else f" of at least {kind.ge}"
