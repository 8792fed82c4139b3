"""The task schema that a batch names in its metadata, as it is at the batch's creation."""

import asyncio
import hashlib
from typing import Any, Final

import msgspec
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.errors import TaskSchemaError
from batch_common.tables import task_schemas
from batch_common.task_schema import encode_task_schema
from batch_common.task_schema_folder import TaskSchemaFolder
from batch_gateway.batch_request import BatchRequest
from batch_gateway.errors import ApiError

KEY: Final = "schema"
"""In a batch's metadata."""

_PARAM: Final = f"metadata.{KEY}"
# Those whose requests can say what form the answer must have.
_ENDPOINTS: Final = ("/v1/chat/completions", "/v1/responses")


class FrozenSchema(msgspec.Struct, frozen=True):
    """A row of task_schemas."""

    id: str
    name: str
    content: bytes


class TaskSchemas:
    def __init__(self, folder: TaskSchemaFolder) -> None:
        self._folder = folder

    async def of(self, wanted: BatchRequest) -> FrozenSchema | None:
        """None for a batch that names none. Raises ApiError (400)."""
        name = (wanted.metadata or {}).get(KEY)
        if name is None:
            return None
        if wanted.endpoint not in _ENDPOINTS:
            raise ApiError(
                400,
                f"A batch for '{wanted.endpoint}' cannot have a task schema. Endpoints that can: "
                f"{', '.join(_ENDPOINTS)}.",
                param=_PARAM,
                code="invalid_value",
            )
        return await asyncio.to_thread(self._freeze, name)

    def _freeze(self, name: str) -> FrozenSchema:
        try:
            schema = self._folder.find(name)
        except TaskSchemaError as error:
            raise _invalid(name, error) from error
        if schema is None:
            known = ", ".join(f"'{each}'" for each in self._folder.files())
            raise ApiError(
                400,
                f"Invalid value: '{name}' is no task schema. Known ones are: {known}.",
                param=_PARAM,
                code="invalid_value",
            )
        content = encode_task_schema(schema)
        return FrozenSchema(hashlib.sha256(content).hexdigest(), name, content)


def _invalid(name: str, error: TaskSchemaError) -> ApiError:
    """The places, and not where on the server the file is."""
    more = len(error.problems) - 1
    return ApiError(
        400,
        f"The task schema '{name}' is not valid, {error.problems[0]}"
        + (f" (and {more} more)." if more else "."),
        param=_PARAM,
        code="invalid_schema",
    )


async def keep_schema(conn: AsyncConnection, schema: FrozenSchema) -> None:
    """Within the transaction of a batch that has it; many batches share one row."""
    dialect: Any = postgresql if conn.dialect.name == "postgresql" else sqlite
    row = {
        "id": schema.id,
        "name": schema.name,
        "content": schema.content,
        "created_at": clock.timestamp(),
    }
    await conn.execute(dialect.insert(task_schemas).values(row).on_conflict_do_nothing())
