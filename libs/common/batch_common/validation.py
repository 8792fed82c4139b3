"""What is wrong with JSON that a JSON Schema does not allow, in words that fit a line."""

from typing import Final

import msgspec
from jsonschema_rs import ValidationError, ValidationErrorKind

from batch_common.json_pointer import pointer
from batch_common.task_schema import Problem

_SHOWN_CHARS: Final = 300


def problem_of(error: ValidationError, above: str = "") -> Problem:
    """`above`: a pointer to what was validated. Long values that are quoted are cut short."""
    message = _listed(error.kind) or error.message
    if len(message) > _SHOWN_CHARS:
        message = message[:_SHOWN_CHARS] + "…"
    return Problem(above + pointer(error.instance_path), message)


def _listed(kind: ValidationErrorKind) -> str | None:
    """All that is allowed where the library names the first two."""
    if not isinstance(kind, ValidationErrorKind.Enum):
        return None
    return f"must be one of {', '.join(msgspec.json.encode(o).decode() for o in kind.options)}"
