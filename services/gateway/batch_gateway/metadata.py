"""Metadata of a batch: at most 16 pairs of strings."""

from typing import Any, Final

from batch_gateway.errors import ApiError
from batch_gateway.parameters import text, wrong_type

MAX_PAIRS: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512


def parse_metadata(value: Any) -> dict[str, str] | None:
    """None for null. Lengths count characters. Raises ApiError (400)."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    if len(value) > MAX_PAIRS:
        raise _over("metadata", "object_above_max_properties", "properties", MAX_PAIRS, len(value))
    return {_key(key): _value(key, item) for key, item in value.items()}


def _key(key: str) -> str:
    if len(key) > _MAX_KEY:
        raise _over(
            "metadata", "property_name_above_max_length", "characters in a key", _MAX_KEY, len(key)
        )
    return text(key, "metadata")


def _value(key: str, value: Any) -> str:
    name = f"metadata.{key}"
    found = text(value, name)
    if len(found) > _MAX_VALUE:
        raise _over(name, "string_above_max_length", "characters", _MAX_VALUE, len(found))
    return found


def _over(name: str, code: str, unit: str, limit: int, found: int) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{name}': expected at most {limit} {unit}, but got {found} instead.",
        param=name,
        code=code,
    )
