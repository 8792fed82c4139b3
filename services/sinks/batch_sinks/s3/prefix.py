"""Where a batch's objects lie: a template filled in, the same in every attempt."""

import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from batch_common.errors import ConfigError
from batch_sinks.handler import BatchMetadata

_FIELDS: Final[dict[str, Callable[[str, BatchMetadata], str]]] = {
    "batch_id": lambda batch_id, _: batch_id,
    "tenant": lambda _, about: about["tenant"],
    "model": lambda _, about: about["model"] or "several",
    "status": lambda _, about: about["status"],
    "date": lambda _, about: datetime.fromtimestamp(about["ended_at"], UTC).date().isoformat(),
}


def check_template(template: str) -> str:
    """Raises ConfigError."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError:
        names = [""]
    if "batch_id" not in names or not set(names) <= _FIELDS.keys():
        raise ConfigError(
            f"result_handlers.s3.prefix {template!r} must hold {{batch_id}}, and may hold "
            + ", ".join(f"{{{name}}}" for name in _FIELDS if name != "batch_id")
        )
    return template.strip("/")


def fill_in(template: str, batch_id: str, about: BatchMetadata) -> str:
    """Values are percent-encoded: one with a slash stays one folder, and stays its own."""
    values = {name: quote(value(batch_id, about), safe="") for name, value in _FIELDS.items()}
    return template.format_map(values)
