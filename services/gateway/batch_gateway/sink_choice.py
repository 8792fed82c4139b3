"""Which sinks a batch wants, in its metadata: a name that there is not would deliver nothing."""

from collections.abc import Collection, Mapping
from typing import Final

from batch_gateway.errors import ApiError

# In a batch's metadata: names of sinks, separated by commas; empty: none of them.
CHOICE: Final = "sinks"
_PARAM: Final = f"metadata.{CHOICE}"
# The configured one and the endpoints that tenants make.
_WEBHOOK: Final = "webhook"
_ENDPOINT_ID: Final = "we_"


def check_sinks(metadata: Mapping[str, str] | None, enabled: Collection[str]) -> None:
    """`enabled`: result_handlers.enabled. Raises ApiError (400) that names the known ones."""
    choice = (metadata or {}).get(CHOICE, "")
    known = [*enabled, *({_WEBHOOK} - set(enabled))]
    for name in map(str.strip, choice.split(",")):
        if name and name not in known and not name.startswith(_ENDPOINT_ID):
            raise ApiError(
                400,
                f"Invalid value for '{_PARAM}': this server has no sink '{name}'. "
                f"It has {', '.join(known)}; give names separated by commas, or leave it out.",
                param=_PARAM,
                code="invalid_value",
            )
