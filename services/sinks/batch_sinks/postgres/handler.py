"""The handler: rows in transactions of a few thousand, going on where the last attempt was."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg

from batch_common import config
from batch_common.errors import ConfigError
from batch_common.secret import Secret
from batch_sinks.handler import BatchMetadata, ResultHandler
from batch_sinks.handler_sink import HandlerSink
from batch_sinks.postgres.answer_columns import AnswerColumn, answer_columns, answer_values
from batch_sinks.postgres.rows import COLUMNS, Row, make_row, size_of
from batch_sinks.postgres.table import Table
from batch_sinks.results import Result, Results
from batch_sinks.sink import DeliveryError

_CONNECT_S: Final = 30.0
# A transaction's rows are in memory: fewer of them where they are long.
_TRANSACTION_CHARS: Final = 8 << 20


def make_postgres(settings: config.Sinks) -> HandlerSink:
    """Raises ConfigError."""
    own = settings.postgres
    return HandlerSink("postgres", PostgresHandler(own), limit_s=own.limit_s, side_by_side=2)


class PostgresHandler(ResultHandler):
    """Each transaction's rows are there for good, so their count says where to go on."""

    def __init__(self, settings: config.Postgres) -> None:
        self._url = _checked(settings.url)
        self._table = Table(settings.table)
        self._rows_at_once = settings.rows_at_once

    async def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> bool:
        with _said_plainly():
            async with self._connection() as conn:
                columns = await self._table.ensure(conn, answer_columns(results.schema))
                maker = _RowMaker(batch_id, metadata, columns)
                stored = await self._table.count(conn, batch_id)
                total = await self._store(conn, maker, results, stored)
                if await self._table.count(conn, batch_id) == total:
                    return True
                # Somebody has removed rows: those before `stored` may be among them.
                await self._store(conn, maker, results, 0)
        return True

    async def _store(self, conn: Any, maker: "_RowMaker", results: Results, first: int) -> int:
        """Stores the results from `first` on; returns how many there are altogether."""
        total = first
        rows: list[Row] = []
        chars = 0
        async for window in results.skip(first).windows():
            for result in window:
                rows.append(maker.row(result))
                chars += size_of(rows[-1])
                if len(rows) == self._rows_at_once or chars >= _TRANSACTION_CHARS:
                    await self._table.store(conn, maker.names, rows)
                    total += len(rows)
                    rows, chars = [], 0
        if rows:
            await self._table.store(conn, maker.names, rows)
        return total + len(rows)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """Without prepared statements, which a pooler in between would lose."""
        conn = await asyncpg.connect(self._url.reveal(), timeout=_CONNECT_S, statement_cache_size=0)
        try:
            yield conn
        finally:
            await conn.close(timeout=_CONNECT_S)


class _RowMaker:
    """Of one batch. `columns`: what is stored of answers, with the types that the table has."""

    def __init__(
        self, batch_id: str, metadata: BatchMetadata, columns: Mapping[AnswerColumn, str]
    ) -> None:
        self.names = (*COLUMNS, *(column.name for column in columns))
        self._batch_id = batch_id
        self._metadata = metadata
        self._columns = columns

    def row(self, result: Result) -> Row:
        base = make_row(self._batch_id, result, self._metadata)
        return base + answer_values(result, self._columns) if self._columns else base


@contextmanager
def _said_plainly() -> Iterator[None]:
    """First lines only: what follows them may quote a row."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        said = str(error).partition("\n")[0] or "no answer in time"
        raise DeliveryError(f"Postgres: {said} ({type(error).__name__})") from None


def _checked(url: Secret) -> Secret:
    """Its errors keep the URL to themselves."""
    if not url:
        raise ConfigError(
            "the handler postgres is enabled without a database: set result_handlers.postgres.url"
        )
    try:
        parts = urlsplit(url.reveal())
        fits = parts.scheme in ("postgresql", "postgres") and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(
            "result_handlers.postgres.url is not of the form postgresql://user:password@host/name"
        )
    return url
