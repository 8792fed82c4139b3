"""What the OpenAPI document says of bodies that the routes read themselves."""

from dataclasses import dataclass
from typing import Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Parameter,
    RequestBody,
    Schema,
)

from batch_gateway.errors import ErrorBody

TEXT = Schema(type=OpenAPIType.STRING)
INTEGER = Schema(type=OpenAPIType.INTEGER)
BOOLEAN = Schema(type=OpenAPIType.BOOLEAN)
BYTES = Schema(type=OpenAPIType.STRING, format="binary")  # type: ignore[arg-type]
TEXTS = Schema(type=OpenAPIType.ARRAY, items=TEXT)
PAIRS = Schema(type=[OpenAPIType.OBJECT, OpenAPIType.NULL], additional_properties=TEXT)
EXPIRES_AFTER = Schema(
    type=OpenAPIType.OBJECT,
    properties={"anchor": Schema(const="created_at"), "seconds": INTEGER},
    required=["anchor", "seconds"],
)

ERRORS = {
    status: ResponseSpec(data_container=ErrorBody, description=text, generate_examples=False)
    for status, text in {
        400: "The request is wrong; the message says where.",
        401: "No API key, or an unknown one.",
        404: "No such object for this tenant.",
        409: "The object's status, or an Idempotency-Key that was used before, is in the way.",
        500: "The server failed.",
    }.items()
}


_IDEMPOTENCY_KEY = Parameter(
    name="Idempotency-Key",
    param_in="header",
    schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
    description="A request that is sent again under its key is answered with what it made first.",
)


@dataclass
class Creates(Operation):
    """An operation that honours Idempotency-Key."""

    def __post_init__(self) -> None:
        self.parameters = [*(self.parameters or []), _IDEMPOTENCY_KEY]


def takes(media_type: str, required: dict[str, Any], **optional: Any) -> type[Operation]:
    """A creating operation whose body is an object of these properties."""
    body = _body(media_type, required, optional)

    @dataclass
    class WithBody(Creates):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.request_body = body

    return WithBody


def reads(required: dict[str, Any], **optional: Any) -> type[Operation]:
    """An operation that may be repeated, with a JSON body of these properties."""
    body = _body("application/json", required, optional)

    @dataclass
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return WithBody


def _body(media_type: str, required: dict[str, Any], optional: dict[str, Any]) -> RequestBody:
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties={**required, **optional},
        required=sorted(required),
    )
    return RequestBody(
        required=bool(required), content={media_type: OpenAPIMediaType(schema=schema)}
    )
