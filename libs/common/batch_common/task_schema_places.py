"""What a JSON Schema of answers says of one place in them."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from batch_common.json_pointer import resolve, steps

Answer: TypeAlias = Mapping[str, Any]

# By these a schema may have properties that its own `properties` does not name.
_OPEN: Final = ("$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties")


def has_place(answer: Answer, source: str) -> bool:
    """False only where no valid answer can have it. Raises ValueError for what is no pointer."""
    return schema_at(answer, source) is not False


def schema_at(answer: Answer, source: str) -> Any:
    """The schema of a place; False where there can be none, None where nobody can tell."""
    found: Any = answer
    for step in steps(source):
        if not isinstance(found, Mapping):
            return found
        found = referred(answer, _below(found, step))
    return found


def _below(schema: Answer, step: str) -> Any:
    properties = schema.get("properties", {})
    if step in properties:
        return properties[step]
    if "items" in schema and step.removeprefix("-").isdecimal():
        return schema["items"]
    closed = properties and not any(key in schema for key in _OPEN)
    return False if closed else None


def referred(answer: Answer, found: Any) -> Any:
    """What a `$ref` within the answer's schema leads to; None where it cannot be followed."""
    reference = found.get("$ref") if isinstance(found, Mapping) else None
    if reference is None:
        return found
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    try:
        return resolve(answer, reference[1:])
    except LookupError:
        return None
