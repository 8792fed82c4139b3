"""Backups between real databases and stores: every row, every object, and what is refused."""

import hashlib
import stat
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    insert,
    select,
    text,
)

from batch_cli.backup.create import create
from batch_cli.backup.formats import Dump, Manifest
from batch_cli.backup.place import Place, open_place
from batch_cli.backup.restore import restore
from batch_cli.backup.verify import problems_of
from batch_cli.standalone.report import Report
from batch_common import config, keys, tables
from batch_common.blobs import BlobStore, open_blobs
from batch_common.config import Blobs
from batch_common.db import Database, open_database
from batch_common.errors import BlobUnavailableError, SchemaTooNewError, StartError
from batch_common.migrate import migrate, upgrade_to
from batch_common.secret import Secret
from support.finished import Finished, finish

REPORT = Report()
SEGMENT = keys.segment(keys.chunk_prefix("batch_1", "chunk_1"), "att_1", 1)
SUSPECTS = keys.suspects(keys.chunk_prefix("batch_1", "chunk_1"), "att_1")
RESULTS = keys.batch_content("batch_1", "output")
BIG = b"0123456789abcdef" * 200_000
OBJECTS = {
    keys.file_content("file-1"): BIG,
    keys.upload_part("upload_1", "part_1"): b"part",
    keys.plan_input("batch_1", "p"): b"",
    RESULTS: b'{"parts":[],"version":1}',
    keys.installation("inst_1"): b"",
    SEGMENT: b"segment",
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return open_place(str(tmp_path / "place"), {}, make=True)


@pytest.fixture
def target_blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(Blobs(), tmp_path / "restored")


@pytest.fixture(params=["into sqlite", "into postgres"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database, of either kind whatever the source is."""
    url = ""
    if request.param == "into postgres":
        url = await _another(request.getfixturevalue("postgres_server"))
    opened = open_database(config.Database(url=Secret(url)), tmp_path / "restored")
    yield opened
    await opened.close()


@pytest.fixture
async def lite(tmp_path: Path) -> AsyncIterator[Callable[[str], Database]]:
    """Makes SQLite databases, each in a folder of that name."""
    opened: list[Database] = []

    def open_one(name: str) -> Database:
        opened.append(open_database(config.Database(), tmp_path / name))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


async def _another(server: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    conn = await asyncpg.connect(server)
    await conn.execute(f'CREATE DATABASE "{name}"')
    await conn.close()
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def _value(table: Table, name: str, number: int) -> Any:
    """Something awkward of the column's type."""
    match table.columns[name].type:
        case JSON():
            return [{"naïve": [1, 2.5, None, True, "\n"]}, {}, None][number % 3]
        case LargeBinary():
            return bytes(range(256)) * (number % 3 + 1)
        case Boolean():
            return bool(number % 2)
        case Float():
            return 1795458000.123456 + number
        case Integer():
            return (1 << 40) + number if table.name == "files" else number + 1
        case String(length=length):
            return f"{name[:8]} ü\n\"'{number}"[-(length or 64) :]
    raise AssertionError(table.columns[name])


def _row(table: Table, number: int) -> dict[str, Any]:
    """Every third has null where it may have."""
    row = {column.name: _value(table, column.name, number) for column in table.columns}
    for column in table.columns:
        if column.nullable and number % 3 == 2:
            row[column.name] = None
        elif isinstance(column.type, JSON) and not column.nullable:
            row[column.name] = ["batch.completed"]
    return row


async def _fill(database: Database, rows: int) -> None:
    async with database.write("in a test") as conn:
        for table in tables.metadata.sorted_tables:
            number = {"installation": 1, "files": rows}.get(table.name, 7)
            await conn.execute(insert(table), [_row(table, n) for n in range(number)])


async def _rows(database: Database) -> dict[str, list[Any]]:
    async with database.read() as conn:
        return {
            table.name: sorted(
                (tuple(row) for row in await conn.execute(select(table))), key=lambda row: row[0]
            )
            for table in tables.metadata.sorted_tables
        }


async def _put(blobs: BlobStore, objects: dict[str, bytes]) -> None:
    for key, data in objects.items():
        await blobs.put(key, data)


async def _objects(blobs: BlobStore) -> dict[str, bytes]:
    folders = (*keys.FOLDERS, keys.INSTALLATIONS)
    found = [info.key for folder in folders for info in await blobs.list(folder)]
    return {key: await blobs.get(key) for key in found}


async def _problems(place: Place, made: Manifest, *, sizes: bool = False) -> list[str]:
    return [problem async for problem in problems_of(place, made, sizes=sizes)]


async def test_every_row_and_object_comes_back(
    database: Database, blobs: BlobStore, place: Place, target: Database, target_blobs: BlobStore
) -> None:
    await _fill(database, 601)
    await _put(blobs, {**OBJECTS, SUSPECTS: b"{}"})
    made = await create(database, blobs, place, REPORT)
    assert await _problems(place, made) == []
    await restore(target, target_blobs, place, made, REPORT)
    assert await _rows(target) == await _rows(database)
    assert await _objects(target_blobs) == OBJECTS
    await migrate(target)


async def test_a_finished_batch_is_whole(
    database: Database, blobs: BlobStore, place: Place
) -> None:
    await finish(database, blobs, Finished(lines=250, fails=7))
    assert (await create(database, blobs, place, REPORT)).missing == 0


async def test_what_the_blob_store_has_lost_is_told(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, capfd: Any
) -> None:
    """Also a part of a composed file, which no row names itself."""
    database = lite("source")
    await migrate(database)
    await finish(database, blobs, Finished(lines=250))
    outputs = [i.key for i in await blobs.list("chunks/") if i.key.endswith("/output.jsonl")]
    await blobs.delete(outputs[:1])
    made = await create(database, blobs, place, REPORT)
    assert made.missing == 1
    assert outputs[0] in capfd.readouterr().err


async def test_the_next_backup_copies_only_what_is_new(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, target_blobs: BlobStore
) -> None:
    database = lite("source")
    await migrate(database)
    await _put(blobs, OBJECTS)
    first = await create(database, blobs, place, REPORT)
    before = {info.key: info.modified_at for info in await place.store.list("objects/")}
    new = {keys.file_content("file-2"): b"new", RESULTS: b'{"parts":[],"version":2}'}
    await _put(blobs, new)
    second = await create(database, blobs, place, REPORT)
    after = {info.key: info.modified_at for info in await place.store.list("objects/")}
    assert after.keys() - before.keys() == {"objects/files/file-2"}
    assert {key: after[key] for key in before} == before
    for made, objects in ((first, OBJECTS), (second, OBJECTS | new)):
        assert await _problems(place, made) == []
        restored = lite(made.id)
        store = open_blobs(Blobs(), place.store._local.objects.parents[1] / made.id)  # type: ignore[union-attr]
        await restore(restored, store, place, made, REPORT)
        assert await _objects(store) == objects


async def test_what_comes_before_the_rows_moment_is_there(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, monkeypatch: Any
) -> None:
    """A file that comes in when most objects are copied, and the rows are not read yet."""
    database = lite("source")
    await migrate(database)
    pages = blobs.pages

    async def one_comes_late(prefix: str) -> AsyncIterator[Any]:
        async for page in pages(prefix):
            yield page
        if prefix == keys.INSTALLATIONS:
            monkeypatch.undo()
            await blobs.put(keys.file_content("file-9"), b"late")
            row = _row(tables.files, 0) | {"bytes": 4, "composed": False, "purged_at": None}
            row |= {"id": "file-9", "blob_key": keys.file_content("file-9")}
            async with database.write("in a test") as conn:
                await conn.execute(insert(tables.files).values(row))

    monkeypatch.setattr(blobs, "pages", one_comes_late)
    made = await create(database, blobs, place, REPORT)
    assert (made.rows("files"), made.objects.lines, made.missing) == (1, 1, 0)


async def test_what_goes_after_the_rows_moment_is_there(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, monkeypatch: Any
) -> None:
    """The plan of a batch that runs in the rows, and has ended when they are written: its input
    may be gone for long, so nobody could make it again.
    """
    database = lite("source")
    await migrate(database)
    plan = keys.plan_input("batch_1", "p")
    await blobs.put(plan, b"plan")
    put = place.store.put

    async def the_batch_ends(key: str, data: Any) -> int:
        if "/tables/" in key:
            await blobs.delete([plan])
        return await put(key, data)

    monkeypatch.setattr(place.store, "put", the_batch_ends)
    made = await create(database, blobs, place, REPORT)
    assert [entry.key async for entry in place.entries(made)] == [plan]


async def test_a_backup_broken_off_is_none_and_the_next_one_whole(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, monkeypatch: Any
) -> None:
    database = lite("source")
    await migrate(database)
    await _put(blobs, OBJECTS)
    put = place.store.put

    async def fail_at_the_index(key: str, data: Any) -> int:
        if key.endswith("/objects.jsonl"):
            raise BlobUnavailableError("gone")
        return await put(key, data)

    monkeypatch.setattr(place.store, "put", fail_at_the_index)
    with pytest.raises(BlobUnavailableError):
        await create(database, blobs, place, REPORT)
    with pytest.raises(StartError, match="no whole backup"):
        await place.manifest(None)
    monkeypatch.undo()
    made = await create(database, blobs, place, REPORT)
    assert [found.id for found in await place.manifests()] == [made.id]
    assert await _problems(place, made) == []


async def test_a_restoration_broken_off_goes_on(
    lite: Callable[[str], Database],
    blobs: BlobStore,
    place: Place,
    target_blobs: BlobStore,
    monkeypatch: Any,
) -> None:
    database, target = lite("source"), lite("restored")
    await migrate(database)
    await _put(blobs, OBJECTS)
    made = await create(database, blobs, place, REPORT)
    read = place.lines

    def fail_at_rows(key: str) -> AsyncIterator[bytes]:
        if "/tables/" in key:
            raise BlobUnavailableError("gone")
        return read(key)

    monkeypatch.setattr(place, "lines", fail_at_rows)
    with pytest.raises(BlobUnavailableError):
        await restore(target, target_blobs, place, made, REPORT)
    monkeypatch.undo()
    await target_blobs.put(SEGMENT, b"gemsent")  # as long, but not what was written
    await restore(target, target_blobs, place, made, REPORT)
    assert await _objects(target_blobs) == OBJECTS
    assert await _rows(target) == await _rows(database)


async def test_nothing_is_restored_over_something(
    database: Database, blobs: BlobStore, place: Place, lite: Callable[[str], Database]
) -> None:
    made = await create(database, blobs, place, REPORT)
    with pytest.raises(StartError, match="the database is not empty"):
        await restore(database, blobs, place, made, REPORT)
    await blobs.put(keys.file_content("file-9"), b"theirs")
    with pytest.raises(StartError, match=r"the blob store is not empty .*files/file-9"):
        await restore(lite("other"), blobs, place, made, REPORT)


@pytest.mark.parametrize("what", ["objects/files/file-1", "tables/files.jsonl"])
@pytest.mark.parametrize("how", ["changed", "gone"])
async def test_damage_is_found_and_not_restored(
    lite: Callable[[str], Database],
    blobs: BlobStore,
    place: Place,
    target_blobs: BlobStore,
    what: str,
    how: str,
) -> None:
    database, target = lite("source"), lite("restored")
    await migrate(database)
    await _fill(database, 3)
    await _put(blobs, OBJECTS)
    made = await create(database, blobs, place, REPORT)
    [key] = [i.key for f in ("objects/", "backups/") for i in await place.store.list(f)
             if i.key.endswith(what)]  # fmt: skip
    data = bytearray(await place.store.get(key))
    data[-3] ^= 1
    await (place.store.delete([key]) if how == "gone" else place.store.put(key, bytes(data)))
    [problem] = await _problems(place, made)
    assert key in problem
    if how == "changed" and what.startswith("objects/"):
        assert await _problems(place, made, sizes=True) == []
    with pytest.raises(StartError, match="restored: use another backup"):
        await restore(target, target_blobs, place, made, REPORT)


async def test_rows_of_an_older_release_are_brought_up(
    database_settings: config.Database, tmp_path: Path, blobs: BlobStore, place: Place,
    target: Database, target_blobs: BlobStore,
) -> None:  # fmt: skip
    """A backup made before an upgrade is of use after it."""
    old = open_database(database_settings, tmp_path)
    async with old.write("in a test") as conn:
        await conn.run_sync(upgrade_to, "0003")
        await conn.execute(
            text(
                "INSERT INTO deliveries (batch_id, sink, tenant, event_id, event_type, state, "
                "attempts, created_at, next_at) VALUES ('batch_1', 's3', 'default', 'evt_1', "
                "'batch.completed', 'pending', 3, 1, 2.5)"
            )
        )
    made = await create(old, blobs, place, REPORT)
    await old.close()
    assert made.schema == "0003"
    await restore(target, target_blobs, place, made, REPORT)
    async with target.read() as conn:
        [row] = await conn.execute(select(tables.deliveries))
    assert (row.sink, row.endpoint, row.attempts, row.next_at) == ("s3", "", 3, 2.5)


async def test_rows_of_a_newer_release_are_refused(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, target_blobs: BlobStore
) -> None:
    database, target = lite("source"), lite("restored")
    await migrate(database)
    async with database.write("in a test") as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    made = await create(database, blobs, place, REPORT)
    with pytest.raises(SchemaTooNewError, match="newer release"):
        await restore(target, target_blobs, place, made, REPORT)


async def test_a_place_is_for_one_installation(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place
) -> None:
    for name in ("one", "two"):
        database = lite(name)
        await migrate(database)
        async with database.write("in a test") as conn:
            await conn.execute(insert(tables.installation).values(id=f"inst_{name}"))
    await create(lite("one"), blobs, place, REPORT)
    with pytest.raises(StartError, match="another installation"):
        await create(lite("two"), blobs, place, REPORT)
    assert len(await place.manifests()) == 1


async def test_a_database_that_nobody_has_used_is_refused(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place
) -> None:
    with pytest.raises(StartError, match="no tables of ours"):
        await create(lite("empty"), blobs, place, REPORT)


def test_a_new_place_is_its_owners(tmp_path: Path) -> None:
    open_place(str(tmp_path / "new"), {}, make=True)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def _dump(name: str, data: bytes) -> Dump:
    return Dump(name, data.count(b"\n"), len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("line", [
    b"no JSON\n", b"\xff\n", b'["files/../../x",1,""]\n', b'["files//x",1,""]\n',
    b'["pwnfolder/x",1,""]\n', b'["restoring",1,""]\n', b'["files/x",-1,""]\n',
])  # fmt: skip
async def test_a_forged_list_of_objects_is_refused(
    lite: Callable[[str], Database],
    blobs: BlobStore,
    place: Place,
    target_blobs: BlobStore,
    line: bytes,
) -> None:
    """Its digest is right: whoever can write the list can write the manifest."""
    database, target = lite("source"), lite("restored")
    await migrate(database)
    made = await create(database, blobs, place, REPORT)
    await place.store.put(place.index(made.id), line)
    forged = msgspec.structs.replace(made, objects=_dump("objects", line))
    with pytest.raises(StartError, match="use another backup"):
        await restore(target, target_blobs, place, forged, REPORT)
    assert await _objects(target_blobs) == {}


@pytest.mark.parametrize("data", [
    b"", b"no JSON\n", b'["pwn"]\n', b'["id"]\n[1,2]\n', b'["id"]\n3\n',
])  # fmt: skip
async def test_a_forged_table_is_refused(
    lite: Callable[[str], Database],
    blobs: BlobStore,
    place: Place,
    target_blobs: BlobStore,
    data: bytes,
) -> None:
    database, target = lite("source"), lite("restored")
    await migrate(database)
    made = await create(database, blobs, place, REPORT)
    await place.store.put(place.table(made.id, "files"), data)
    forged = msgspec.structs.replace(made, tables=(_dump("files", data),))
    with pytest.raises(StartError, match="table 'files' is damaged"):
        await restore(target, target_blobs, place, forged, REPORT)


@pytest.mark.parametrize("change", [
    {"id": "../../backup_1"}, {"id": "backup_other"},
    {"tables": (_dump("alembic_version", b""),)}, {"tables": (_dump("../files", b""),)},
])  # fmt: skip
async def test_a_forged_manifest_is_refused(
    lite: Callable[[str], Database], blobs: BlobStore, place: Place, change: dict[str, Any]
) -> None:
    database = lite("source")
    await migrate(database)
    made = await create(database, blobs, place, REPORT)
    forged = msgspec.structs.replace(made, **change)
    await place.store.put(f"manifests/{made.id}.json", msgspec.json.encode(forged))
    for asked in (made.id, None):
        with pytest.raises(StartError, match="damaged"):
            await place.manifest(asked)
    with pytest.raises(StartError, match="no whole backup"):
        await place.manifest("../manifests/x")


@pytest.mark.parametrize("command", ["list", "verify", "restore"])
@pytest.mark.parametrize("kind", ["no folder", "another folder"])
def test_a_mistyped_place_is_an_error_and_nothing_is_made(
    tmp_path: Path, command: str, kind: str
) -> None:
    mistyped, target = tmp_path / "mistyped", tmp_path / "target"
    if kind == "another folder":
        mistyped.mkdir()
    before = sorted(tmp_path.rglob("*"))
    for place in (str(mistyped), mistyped.as_uri()):
        to = ["--data-dir", str(target)] if command == "restore" else []
        ended = subprocess.run(
            [sys.executable, "-m", "batch_cli", "backup", command, place, *to],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "is no place of backups" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before
