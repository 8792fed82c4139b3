"""Task schemas in the database, as the gateway leaves them."""

import hashlib
import json
from typing import Any

from sqlalchemy import insert, select

from batch_common import clock
from batch_common.db import Database
from batch_common.tables import task_schemas
from batch_common.task_schema import TaskSchema, encode_task_schema
from batch_common.task_schema_file import parse_task_schema, schemas_folder


def example(name: str) -> TaskSchema:
    """One that comes with the package."""
    file = schemas_folder() / "examples" / f"{name}.json"
    return parse_task_schema(file.read_bytes(), str(file))


def schema_of(properties: dict[str, Any], **more: Any) -> TaskSchema:
    """Of an answer with these properties and no others; `more` goes into the answer's schema."""
    answer = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return parse_task_schema(json.dumps({"name": "test", "answer": answer}).encode(), "test")


async def keep_schema(database: Database, schema: TaskSchema) -> str:
    """The id of its row."""
    content = encode_task_schema(schema)
    schema_id = hashlib.sha256(content).hexdigest()
    row = {
        "id": schema_id,
        "name": schema.name,
        "content": content,
        "created_at": clock.timestamp(),
    }
    async with database.write("in a test") as conn:
        known = select(task_schemas.c.id).where(task_schemas.c.id == schema_id)
        if (await conn.execute(known)).first() is None:
            await conn.execute(insert(task_schemas).values(row))
    return schema_id
