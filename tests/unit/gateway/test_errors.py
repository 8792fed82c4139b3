"""What Litestar raises, as the client and the log see it."""

import asyncio
from typing import Any

import pytest
from litestar import Request, post
from litestar.exceptions import InternalServerException

from batch_gateway.errors import ClientGoneError, to_api_error


def test_a_client_that_leaves_within_its_body_is_no_fault_of_the_server() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    @post("/")
    async def route() -> None: ...

    route.resolve_request_max_body_size = lambda: None  # type: ignore[method-assign]
    scope: Any = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {}}
    scope["route_handler"] = route
    request: Request[Any, Any, Any] = Request(scope, receive=receive)
    with pytest.raises(InternalServerException) as raised:
        asyncio.run(request.body())
    assert isinstance(to_api_error(raised.value, "POST", "/v1/batches"), ClientGoneError)
    other = InternalServerException(detail="something else")
    assert to_api_error(other, "POST", "/v1/batches").status == 500
