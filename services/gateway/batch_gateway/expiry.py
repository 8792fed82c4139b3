"""`expires_after` and `output_expires_after`: seconds that count from `created_at`."""

from collections.abc import Mapping
from typing import Any, Final

from batch_gateway.errors import ApiError, missing
from batch_gateway.objects import THIRTY_DAYS_S
from batch_gateway.parameters import integer, wrong_type
from batch_gateway.purposes import BATCH

_LEAST_S: Final = 3600


def parse_expiry(value: Any, name: str) -> int | None:
    """Seconds from `{"anchor": "created_at", "seconds": N}`; None for null. Raises ApiError."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    for key in ("anchor", "seconds"):
        if key not in value:
            raise missing(f"{name}.{key}")
    return _checked(value["anchor"], integer(value["seconds"], f"{name}.seconds"), name)


def parse_form_expiry(fields: Mapping[str, str]) -> int | None:
    """The same from the fields `expires_after[anchor]` and `expires_after[seconds]`."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    number = int(seconds) if seconds and seconds.isascii() and seconds.isdigit() else seconds
    value = {"anchor": anchor, "seconds": number}
    return parse_expiry({k: v for k, v in value.items() if v is not None}, "expires_after")


def file_expires_at(purpose: str, created_at: int, expires_after_s: int | None) -> int | None:
    """Batch files live for 30 days by default, others for ever (null)."""
    if expires_after_s is not None:
        return created_at + expires_after_s
    return created_at + THIRTY_DAYS_S if purpose == BATCH else None


def _checked(anchor: Any, seconds: int, name: str) -> int:
    if anchor != "created_at":
        raise ApiError(
            400,
            f"Invalid value: '{anchor}'. Supported values are: 'created_at'.",
            param=f"{name}.anchor",
            code="invalid_value",
        )
    if not _LEAST_S <= seconds <= THIRTY_DAYS_S:
        raise ApiError(
            400,
            f"Invalid '{name}.seconds': {seconds}. "
            f"It must be between {_LEAST_S} and {THIRTY_DAYS_S}.",
            param=f"{name}.seconds",
            code="invalid_value",
        )
    return seconds
