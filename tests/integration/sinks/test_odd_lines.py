"""Whether a real Postgres takes what is left of lines that Python can hardly hold."""

import asyncpg
import msgspec
import pytest

from batch_sinks.json_line import decode_line
from batch_sinks.storable import storable_json


@pytest.mark.parametrize(
    "odd", ["9" * 4300, "9" * 200_000, "1e400", "1e-400", "[" * 900 + '"\\u0000"' + "]" * 900]
)
async def test_postgres_takes_every_line_that_we_take(odd: str, postgres_url: str) -> None:
    """Its own limits (numbers of 131,072 digits, no NUL) lie beyond what is left of a line."""
    line = decode_line(f'{{"a": {odd}, "b": [{odd}], "c": 7}}'.encode())
    conn = await asyncpg.connect(postgres_url)
    try:
        stored = await conn.fetchval("SELECT $1::text::jsonb", storable_json(line).decode())
    finally:
        await conn.close()
    assert msgspec.json.decode(stored)["c"] == 7
