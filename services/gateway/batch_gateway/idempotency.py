"""`Idempotency-Key`: a creating request that is sent again creates nothing again.

A key's row commits together with the object it stands for, so there is never one without the
other: a request that failed, and a gateway that died, leave the key free. Of equal requests that
run side by side the first to commit wins; the others undo their own and answer with its object.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
from litestar import Request, Response
from litestar.di import NamedDependency
from sqlalchemy import ColumnElement, Row, and_, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from batch_common import clock
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.tables import idempotency_keys
from batch_common.tasks import repeat
from batch_gateway.body_digest import BodyDigest
from batch_gateway.errors import ApiError

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "idempotent-replayed"
KEPT_S: Final = 24 * 3600

_MAX_CHARS: Final = 255
_SWEEP_S: Final = 600.0

Keep: TypeAlias = Callable[[AsyncConnection, msgspec.Struct], Awaitable[None]]
"""Notes within the caller's transaction what it has made. Raises ApiError (409)."""


async def keep_nothing(_conn: AsyncConnection, _made: msgspec.Struct) -> None:
    """For what no client asked for under a key."""


class Once:
    """One creating request. `body` wants to see all of what the client sent."""

    def __init__(self, database: Database, tenant: str, route: str, key: str | None) -> None:
        self._database = database
        self._tenant = tenant
        self._route = route
        self._key = key
        self.body = BodyDigest(wanted=key is not None)

    async def answer(
        self,
        make: Callable[[], Awaitable[msgspec.Struct]],
        unread: Callable[[], AsyncIterator[object]] | None = None,
    ) -> Response[Any]:
        """What `make` makes, or what an equal request before this one has made.

        `unread`: reads a body that `make` would have read and stored. Raises ApiError (409) for
        a key that stands for another request, and what `make` raises.
        """
        if (kept := await self._find()) is not None:
            return await self._again(kept, unread)
        try:
            return Response(await make())
        except ApiError:
            # An equal request may have been faster, and what it made be what is in our way.
            kept = await self._find() if self.body.whole else None
            if kept is None:
                raise
            return self._replay(kept)

    async def keep(self, conn: AsyncConnection, made: msgspec.Struct) -> None:
        """See Keep. Waits for an equal request that is just committing."""
        if self._key is None:
            return
        dialect: Any = postgresql if conn.dialect.name == "postgresql" else sqlite
        row = {
            "tenant": self._tenant,
            "key": self._key,
            "route": self._route,
            "digest": self.body.hex(),
            "answer": msgspec.json.encode(made),
            "created_at": clock.timestamp(),
        }
        await conn.execute(delete(idempotency_keys).where(self._own, _over()))
        statement = dialect.insert(idempotency_keys).values(row).on_conflict_do_nothing()
        if (await conn.execute(statement)).rowcount != 1:
            raise ApiError(
                409,
                f"Another request with this {HEADER} was faster; try again.",
                param=HEADER,
                headers={"retry-after": "1"},
            )

    async def _find(self) -> Row[Any] | None:
        if self._key is None:
            return None
        statement = select(idempotency_keys).where(self._own, ~_over())
        async with self._database.read() as conn:
            return (await conn.execute(statement)).first()

    async def _again(
        self, kept: Row[Any], unread: Callable[[], AsyncIterator[object]] | None
    ) -> Response[Any]:
        if kept.route != self._route:
            raise _used(f"for {kept.route}")
        if unread is not None:
            async for _ in unread():
                pass
        return self._replay(kept)

    def _replay(self, kept: Row[Any]) -> Response[Any]:
        if kept.route != self._route:
            raise _used(f"for {kept.route}")
        if kept.digest != self.body.hex():
            raise _used("with another body")
        return Response(kept.answer, media_type="application/json", headers={REPLAYED: "true"})

    @property
    def _own(self) -> ColumnElement[bool]:
        return and_(idempotency_keys.c.tenant == self._tenant, idempotency_keys.c.key == self._key)


def once_of(
    request: Request[Any, Any, Any],
    tenant: NamedDependency[str],
    database: NamedDependency[Database],
) -> Once:
    """A dependency of the creating routes. Raises ApiError (400) for a key that is none."""
    key = request.headers.get(HEADER)
    route = f"{request.method} {request.url.path}"
    return Once(database, tenant, route, None if key is None else check_key(key))


def check_key(key: str) -> str:
    """1 to 255 visible ASCII characters. Raises ApiError (400)."""
    if not 1 <= len(key) <= _MAX_CHARS or not all("!" <= character <= "~" for character in key):
        raise ApiError(
            400,
            f"Invalid '{HEADER}': it must have 1 to {_MAX_CHARS} visible ASCII characters, "
            "without spaces; a UUID for each new request is a good choice.",
            param=HEADER,
            code="invalid_value",
        )
    return key


async def sweep_keys(database: Database, stop: asyncio.Event) -> None:
    """Forgets keys that are older than KEPT_S, until `stop`."""

    async def forget() -> bool:
        async with database.read() as conn:
            found = await conn.execute(select(idempotency_keys.c.key).where(_over()).limit(1))
            if found.first() is None:
                return False
        async with database.write("idempotency sweep") as conn:
            await conn.execute(delete(idempotency_keys).where(_over()))
        return False

    await repeat(
        "idempotency_sweep",
        forget,
        wake=asyncio.Event(),
        stop=stop,
        every_s=_SWEEP_S,
        catch=DATABASE_ERRORS,
    )


def _over() -> ColumnElement[bool]:
    return idempotency_keys.c.created_at <= clock.timestamp() - KEPT_S


def _used(how: str) -> ApiError:
    return ApiError(
        409,
        f"This {HEADER} was used {how} within the last {KEPT_S // 3600} hours: "
        "send a new key with a new request.",
        param=HEADER,
        code="idempotency_key_reused",
        retry=False,
    )
