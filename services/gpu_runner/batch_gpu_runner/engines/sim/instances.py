"""A small value that a JSON Schema allows, for answers in a form that a request asks for."""

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

_TEXT: Final = "lore amet dolo sita"
# Deeper than this a schema names itself, and no value of it is small.
_MAX_LEVELS: Final = 32


@functools.lru_cache(maxsize=64)
def instance_of(schema: bytes) -> str | None:
    """JSON, the same for the same schema; None for a schema that has no end or is none.

    Knows `type`, `properties`, `required`, `items`, `prefixItems`, `minItems`, `enum`, `const`,
    `minLength`, `maxLength`, the limits of numbers, `$ref` within it, and takes the first of
    `anyOf` and `oneOf`. Other keywords are passed over.
    """
    try:
        root = msgspec.json.decode(schema)
        return msgspec.json.encode(_Values(root).make(root, 0)).decode()
    except (msgspec.MsgspecError, ArithmeticError, LookupError, TypeError, ValueError):
        return None


class _Values:
    """Of one schema. What a broken one raises is the caller's."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def make(self, schema: Any, level: int) -> Any:
        if level > _MAX_LEVELS:
            raise ValueError("it has no end")
        if not isinstance(schema, dict):
            return None
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.make(schema[several][0], level + 1)
        if "$ref" in schema:
            return self.make(self._place(schema["$ref"]), level + 1)
        return self._of_type(schema, level)

    def _of_type(self, schema: dict[str, Any], level: int) -> Any:
        kind = _type(schema)
        if kind == "object":
            return self._object(schema, level)
        if kind == "array":
            return self._array(schema, level)
        plain = _PLAIN.get(kind)
        return plain(schema) if plain else None

    def _object(self, schema: dict[str, Any], level: int) -> dict[str, Any]:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        return {
            name: self.make(below, level + 1)
            for name, below in properties.items()
            if name in required
        }

    def _array(self, schema: dict[str, Any], level: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        count = max(schema.get("minItems", 0), 0)
        places = [*first, *[schema.get("items", {})] * (count - len(first))][:count]
        return [self.make(place, level + 1) for place in places]

    def _place(self, reference: str) -> Any:
        """Within the schema. Raises LookupError for one that leads elsewhere."""
        home, _, path = reference.partition("#")
        if home:
            raise LookupError(reference)
        found = self._root
        for name in path.split("/")[1:]:
            found = found[name.replace("~1", "/").replace("~0", "~")]
        return found


def _type(schema: dict[str, Any]) -> str:
    """The first that it may have; what has properties is an object."""
    given = schema.get("type", "object" if "properties" in schema else "null")
    return str(given if isinstance(given, str) else given[0])


def _string(schema: dict[str, Any]) -> str:
    least = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", max(least, len(_TEXT))))
    return (_TEXT + "." * (least - len(_TEXT)))[:most]


def _integer(schema: dict[str, Any]) -> int:
    """0, or the nearest to it that is allowed."""
    low, high = -math.inf, math.inf
    if "minimum" in schema:
        low = math.ceil(schema["minimum"])
    if "exclusiveMinimum" in schema:
        low = max(low, math.floor(schema["exclusiveMinimum"]) + 1)
    if "maximum" in schema:
        high = math.floor(schema["maximum"])
    if "exclusiveMaximum" in schema:
        high = min(high, math.ceil(schema["exclusiveMaximum"]) - 1)
    return int(min(max(0, low), high))


def _number(schema: dict[str, Any]) -> float:
    """0, the middle of what is allowed, or a step beyond the only limit there is."""
    low = float(max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf)))
    high = float(min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf)))
    if low < 0 < high:
        return 0.0
    if math.isinf(low) or math.isinf(high):
        return low + 1 if math.isinf(high) else high - 1
    return (low + high) / 2


_PLAIN: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda _: True,
}
