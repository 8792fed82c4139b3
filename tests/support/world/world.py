"""The system under test, and what a user does to it."""

import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert, select, update

from batch_common import clock, config
from batch_common.blobs import open_blobs
from batch_common.db import Database, open_database
from batch_common.events import BatchCancelling, ChunkClaim, ClaimAnswer, decode, encode
from batch_common.ids import new_id
from batch_common.keys import file_content
from batch_common.outbox import add_batch_event
from batch_common.relay import Relay
from batch_common.state import BATCH_MOVES, TERMINAL, BatchStatus, move_batch
from batch_common.tables import batches, files
from batch_scheduler.claims import Claims
from batch_scheduler.commit import commit_delivery
from batch_scheduler.context import Context
from batch_scheduler.fleet import Fleet
from batch_scheduler.rates import Rates
from batch_scheduler.release import Releaser
from batch_scheduler.validate import Validator
from batch_scheduler.wakes import Wakes
from support.fake_runner import CHAT
from support.world.attempts import Attempt
from support.world.streams import Message, Streams

CLAIM_S = 3.0
WINDOW_S = 3600
MODELS = ("m", "n")


class Completion(NamedTuple):
    """What `commit_delivery` reads of a delivery."""

    data: bytes
    attempt: int


class Scheduler:
    """One process of it; a test has two, as after a lost lease."""

    def __init__(self, settings: config.Config, database: Database, streams: Streams) -> None:
        folder = Path(settings.data_dir)
        self.context = Context(
            config=settings,
            database=database,
            blobs=open_blobs(config.Blobs(), folder),
            bus=streams,  # type: ignore[arg-type]
            spool_dir=folder / "spool",
            fleet=Fleet(settings),
            rates=Rates(),
            wakes=Wakes(),
        )
        self.claims = Claims(database, CLAIM_S, self.context.wakes)
        self.releaser = Releaser(self.context)
        self.relay = Relay(database, streams)  # type: ignore[arg-type]

    async def validate(self) -> None:
        """A new validator each time: what one remembers of faults is lost with its process."""
        await Validator(self.context, large=False).validate()


_LIMITS = config.Scheduler(
    chunk_max_requests=4, chunk_first_requests=3, chunks_per_runner=2, claim_ttl_s=CLAIM_S
)


def settings_of(folder: Path, limits: config.Scheduler) -> config.Config:
    return config.Config(
        data_dir=str(folder),
        models=MODELS,
        scheduler=limits,
        sinks=config.Sinks(enabled=("webhook", "s3")),
    )


class Row(dict[str, Any]):
    """A row whose columns are attributes too."""

    __getattr__ = dict.__getitem__


class World:
    """Use `close()` at the end. Batches are in the order in which they were made."""

    def __init__(self, folder: Path, limits: config.Scheduler = _LIMITS) -> None:
        self.config = settings_of(folder, limits)
        self.database = open_database(config.Database(), folder)
        self._look = sqlite3.connect(folder / "batches.db", isolation_level=None)
        self.streams = Streams()
        self.schedulers = [Scheduler(self.config, self.database, self.streams) for _ in "ab"]
        self.blobs = self.schedulers[0].context.blobs
        self.attempts: list[Attempt] = []
        # custom_ids of each batch, in the order of its file.
        self.inputs: dict[str, list[str]] = {}
        # Who holds a chunk, and until when; chunks of which a death has left that open.
        self._holders: dict[str, tuple[str, float]] = {}
        self._unsure: set[str] = set()

    async def close(self) -> None:
        self._look.close()
        await self.database.close()

    async def submit(self, lines: list[tuple[str, bool]]) -> str:
        """Lines are (model, whether the engine refuses it)."""
        ids = [f"{'bad' if bad else 'good'}-{n}" for n, (_, bad) in enumerate(lines)]
        text = b"".join(map(_line, ids, [model for model, _ in lines]))
        file_id, batch_id, now = new_id("file-"), new_id("batch_"), clock.timestamp()
        await self.blobs.put(file_content(file_id), text)
        file = {
            "id": file_id,
            "tenant": "t",
            "purpose": "batch",
            "filename": "in.jsonl",
            "bytes": len(text),
            "created_at": now,
            "blob_key": file_content(file_id),
        }
        batch = {
            "id": batch_id,
            "tenant": "t",
            "endpoint": CHAT,
            "input_file_id": file_id,
            "completion_window": "1h",
            "status": BatchStatus.VALIDATING,
            "created_at": now,
            "expires_at": now + WINDOW_S,
        }
        async with self.database.write("in a test") as conn:
            await conn.execute(insert(files).values(file))
            await conn.execute(insert(batches).values(batch))
        self.inputs[batch_id] = ids
        return batch_id

    async def cancel(self, batch_id: str) -> None:
        """As the gateway does; nothing for a batch that cannot be cancelled any more."""
        batch = await self.batch(batch_id)
        source = BatchStatus(batch.status)
        if BatchStatus.CANCELLING not in BATCH_MOVES.get(source, ()):
            return
        if source != BatchStatus.FINALIZING and batch.expires_at <= clock.now():
            return
        at, target = clock.timestamp(), BatchStatus.CANCELLING
        event = BatchCancelling(
            batch_id=batch_id, tenant="t", endpoint=CHAT, input_file_id="f", at=at
        )
        async with self.database.write("in a test") as conn:
            if await move_batch(conn, batch_id, source, target, at):
                await add_batch_event(conn, event, "gateway", None)

    async def expire(self, batch_id: str) -> None:
        """Its window ends now; one that has ended stays as it was."""
        running = update(batches).where(batches.c.id == batch_id, batches.c.status.not_in(TERMINAL))
        async with self.database.write("in a test") as conn:
            await conn.execute(running.values(expires_at=clock.timestamp() - 1))

    async def claim(self, attempt: Attempt, *, released: bool = False) -> str:
        """Of two live claims to one chunk only one is answered `go`."""
        claim = ChunkClaim(
            chunk=attempt.ready.chunk,
            generation=attempt.ready.generation,
            attempt=attempt.name,
            runner="r",
            completed=attempt.counted.completed,
            failed=attempt.counted.failed,
            released=released,
        )
        try:
            reply = await self.schedulers[0].claims.answer(encode(claim))
        except BaseException:
            self._unsure.add(attempt.ready.chunk)  # it may hold the chunk now, or not
            raise
        assert reply is not None
        answer = decode(reply, ClaimAnswer).answer
        self._check_holder(attempt, answer, released=released)
        return answer

    def _check_holder(self, attempt: Attempt, answer: str, *, released: bool) -> None:
        chunk = attempt.ready.chunk
        if chunk in self._unsure:
            return
        holder, until = self._holders.get(chunk, ("", 0.0))
        if holder == attempt.name and released:
            del self._holders[chunk]
        elif answer == "go":
            assert holder in ("", attempt.name) or until < clock.now(), "two attempts may go"
            self._holders[chunk] = (attempt.name, clock.now() + CLAIM_S)
        elif answer == "busy":
            assert holder not in ("", attempt.name), "nobody else holds it"

    async def commit(self, message: Message, *, scheduler: int = 0, delivered: int = 1) -> None:
        """Hands a `chunk.completed` to a scheduler, for the `delivered`th time."""
        completion = Completion(message.body, delivered)
        await commit_delivery(self.schedulers[scheduler].context, completion)  # type: ignore[arg-type]

    async def batch(self, batch_id: str) -> Any:
        async with self.database.read() as conn:
            return (await conn.execute(select(batches).where(batches.c.id == batch_id))).one()

    def rows(self, table: str, order: str = "1") -> list[Any]:
        """Read past the services' own connections, so that a look costs little."""
        found = self._look.execute(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608 - ours
        names = [column[0] for column in found.description]
        return [Row(zip(names, values, strict=True)) for values in found]


def _line(custom_id: str, model: str) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": custom_id}]}
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line).encode() + b"\n"
