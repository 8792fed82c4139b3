"""Who asks: bearer keys and the tenants they stand for."""

from typing import Any, Final

from litestar import Request

from batch_common.secret import ApiKeys
from batch_gateway.errors import ApiError

DEFAULT_TENANT: Final = "default"
TENANT_STATE: Final = "tenant"

_BEARER: Final = "bearer "


def authenticate(authorization: str, keys: ApiKeys) -> str:
    """The tenant of an `Authorization` header ("" when there is none). Raises ApiError (401).

    Without configured keys everybody is the default tenant, whatever the header says.
    """
    if not keys:
        return DEFAULT_TENANT
    scheme, key = authorization[: len(_BEARER)], authorization[len(_BEARER) :].strip()
    if scheme.lower() != _BEARER or not key:
        raise ApiError(
            401,
            "You didn't provide an API key. Send it in an Authorization header: "
            "'Authorization: Bearer YOUR_KEY'.",
        )
    tenant = keys.tenant_of(key)
    if tenant is None:
        raise ApiError(
            401,
            "Incorrect API key provided: ***. Ask this server's operator for a valid one.",
            code="invalid_api_key",
        )
    return tenant


def tenant_of(request: Request[Any, Any, Any]) -> str:
    """A dependency of every /v1 route; a route that was reached without a tenant fails."""
    tenant: str = request.scope["state"][TENANT_STATE]
    return tenant
