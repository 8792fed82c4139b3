"""One suite for every blob store: a local folder, and S3 as moto speaks it."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from batch_common import local_put
from batch_common.blobs import WINDOW_BYTES, BlobStore, open_blobs
from batch_common.config import Blobs
from batch_common.errors import (
    BlobNotFoundError,
    BlobStoreFullError,
    BlobUnavailableError,
    ConfigError,
)
from batch_common.secret import Secret
from support.ports import free_port


def s3_client(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hidden",
    )


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with the bucket `bucket`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3_client(endpoint).create_bucket(Bucket="bucket")
    yield endpoint
    server.stop()


def s3_settings(endpoint: str, folder: str) -> Blobs:
    options = {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": "hidden",
        "allow_http": "true",
    }
    return Blobs(
        url=f"s3://bucket/{folder}",
        options={name: Secret(value) for name, value in options.items()},
    )


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return open_blobs(Blobs(), tmp_path)
    return open_blobs(s3_settings(request.getfixturevalue("s3"), tmp_path.name), tmp_path)


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def keys(store: BlobStore, prefix: str = "a/") -> list[str]:
    return sorted(info.key for info in await store.list(prefix))


async def test_what_is_put_is_got(store: BlobStore) -> None:
    assert await store.put("a/b/c", b"hello") == 5
    assert await store.get("a/b/c") == b"hello"
    assert await store.size("a/b/c") == 5


async def test_pieces_make_one_object(store: BlobStore) -> None:
    assert await store.put("a/x", pieces(b"one", b"", b"two", b"three")) == 11
    assert await store.get("a/x") == b"onetwothree"


async def test_nothing_at_all_is_an_object_too(store: BlobStore) -> None:
    assert await store.put("a/empty", b"") == 0
    assert await store.put("a/none", pieces()) == 0
    assert await store.get("a/empty") == await store.get("a/none") == b""
    assert await store.size("a/none") == 0


async def test_a_large_stream_arrives_whole(store: BlobStore) -> None:
    """Larger than one part of an S3 upload."""
    part = os.urandom(1 << 20)
    count = 13

    async def parts() -> AsyncIterator[bytes]:
        for number in range(count):
            yield number.to_bytes(4, "big") + part

    size = await store.put("a/large", parts())
    assert size == count * (len(part) + 4) == await store.size("a/large")
    got = b"".join([piece async for piece in store.stream("a/large", 0, size)])
    assert got == b"".join(n.to_bytes(4, "big") + part for n in range(count))


async def test_a_put_replaces(store: BlobStore) -> None:
    await store.put("a/x", b"long before")
    await store.put("a/x", b"after")
    assert await store.get("a/x") == b"after"
    assert await keys(store) == ["a/x"]


@pytest.mark.parametrize("before", [0, 3, 14], ids=["at once", "small", "past the first part"])
async def test_an_interrupted_put_leaves_nothing(store: BlobStore, before: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(before):
            yield bytes(1 << 20)
        raise LookupError("the client went away")

    with pytest.raises(LookupError, match="the client went away"):
        await store.put("a/x", broken())
    assert await keys(store) == []
    with pytest.raises(BlobNotFoundError):
        await store.get("a/x")


async def test_an_interrupted_put_leaves_what_was_there(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"new"
        raise LookupError

    await store.put("a/x", b"old")
    with pytest.raises(LookupError):
        await store.put("a/x", broken())
    assert await store.get("a/x") == b"old"


async def test_a_cancelled_put_leaves_nothing(store: BlobStore) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"some"
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put("a/x", endless()))
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await keys(store) == []


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 10, b"0123456789"),
        (0, 1, b"0"),
        (9, 10, b"9"),
        (3, 7, b"3456"),
        (5, 99, b"56789"),
        (0, 99, b"0123456789"),
        (4, 4, b""),
        (7, 3, b""),
        (10, 10, b""),
        (10, 20, b""),
        (50, 60, b""),
    ],
)
async def test_ranges(store: BlobStore, start: int, end: int, expected: bytes) -> None:
    await store.put("a/x", b"0123456789")
    assert await store.get_range("a/x", start, end) == expected
    assert b"".join([piece async for piece in store.stream("a/x", start, end)]) == expected


async def test_a_range_of_an_empty_object(store: BlobStore) -> None:
    await store.put("a/x", b"")
    assert await store.get_range("a/x", 0, 5) == b""


async def test_a_stream_comes_in_bounded_pieces(store: BlobStore) -> None:
    data = os.urandom(2 * WINDOW_BYTES + 3)
    await store.put("a/x", data)
    found = [piece async for piece in store.stream("a/x", 1, len(data))]
    assert b"".join(found) == data[1:]
    assert max(map(len, found)) == WINDOW_BYTES


async def test_what_is_not_there(store: BlobStore) -> None:
    for ask in (store.get("a/x"), store.size("a/x"), store.get_range("a/x", 0, 1)):
        with pytest.raises(BlobNotFoundError, match="'a/x'") as raised:
            await ask
        assert raised.value.key == "a/x"
    assert await store.list("a/") == []


async def test_a_list_is_of_one_prefix(store: BlobStore) -> None:
    before = time.time() - 5
    for key in ("a/b/1", "a/b/c/2", "a/bc/3", "d/4"):
        await store.put(key, key.encode())
    found = await store.list("a/b/")
    assert sorted(info.key for info in found) == ["a/b/1", "a/b/c/2"]
    assert {info.bytes for info in found} == {5, 7}
    assert all(before < info.modified_at < time.time() + 5 for info in found)


async def test_a_long_list_is_whole(store: BlobStore) -> None:
    await asyncio.gather(*(store.put(f"a/{n}", b"x") for n in range(120)))
    assert len(await store.list("a/")) == 120


async def test_deleting_is_idempotent(store: BlobStore) -> None:
    await store.put("a/x", b"1")
    await store.put("a/y", b"2")
    await store.delete(["a/x", "a/absent"])
    await store.delete(["a/x"])
    await store.delete([])
    assert await keys(store) == ["a/y"]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "a/..", "/etc/x", ""])
async def test_keys_that_leave_the_store_are_refused(
    store: BlobStore, key: str, tmp_path: Path
) -> None:
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(ValueError, match="not a blob key"):
        await store.put(key, b"x")
    assert [p for p in sorted(tmp_path.parent.rglob("*")) if p not in before] == []


async def test_puts_side_by_side_do_not_mix(store: BlobStore) -> None:
    """Two attempts at one key: one of them is there, whole."""
    bodies = [bytes([n]) * 300_000 for n in range(6)]
    await asyncio.gather(*(store.put("a/x", pieces(b[:7], b[7:])) for b in bodies))
    assert await store.get("a/x") in bodies


# The folder alone


async def test_a_put_is_durable_before_it_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the bytes, then rename, then fsync of every folder whose entries changed."""
    store = open_blobs(Blobs(), tmp_path)
    seen: list[tuple[str, str]] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append(("fsync", path.parent.name if path.is_file() else path.name))
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        seen.append(("rename", target.name))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    for data in (b"whole", pieces(b"in ", b"pieces")):
        seen.clear()
        await store.put("a/b/x", data)
        assert seen[-2:] == [("rename", "x"), ("fsync", "b")]
        assert seen[0] == ("fsync", "incoming")
    seen.clear()
    await store.put("c/d/x", b"new folders")
    assert seen == [
        ("fsync", "incoming"),
        ("fsync", "objects"),
        ("fsync", "c"),
        ("rename", "x"),
        ("fsync", "d"),
    ]


async def test_pieces_of_an_unfinished_put_are_no_objects(tmp_path: Path) -> None:
    store = open_blobs(Blobs(), tmp_path)
    seen: list[list[str]] = []

    async def watched() -> AsyncIterator[bytes]:
        yield b"some"
        seen.append(await keys(store, ""))
        yield b"more"

    await store.put("a/x", watched())
    assert seen == [[]]
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from batch_common.blobs import open_blobs
from batch_common.config import Blobs
from batch_common.errors import BlobStoreFullError

async def pieces():
    for _ in range(40):
        yield bytes(100_000)

async def main():
    store = open_blobs(Blobs(), Path(sys.argv[1]))
    await store.put("a/small", b"fits")
    for data in (pieces(), bytes(4_000_000)):
        try:
            await store.put("a/x", data)
        except BlobStoreFullError as error:
            print(error)
    print(sorted(info.key for info in await store.list("a/")))

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
asyncio.run(main())
"""


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *errors, left = done.stdout.strip().splitlines()
    assert len(errors) == 2
    for error in errors:
        assert "no space is left" in error
        assert str(tmp_path) in error
        assert "blobs.url" in error
    assert left == "['a/small']"
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []


async def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    store = open_blobs(Blobs(), tmp_path)
    await store.put("a/x", b"kept")
    incoming = tmp_path / "blobs" / "incoming"
    for name, age_s in (("old", local_put._ABANDONED_S + 60), ("fresh", 60)):
        (incoming / name).write_bytes(b"half")
        os.utime(incoming / name, (time.time() - age_s,) * 2)
    again = open_blobs(Blobs(), tmp_path)
    assert [path.name for path in incoming.iterdir()] == ["fresh"]
    assert await again.get("a/x") == b"kept"


async def test_folders_that_have_been_empty_for_long_are_pruned(tmp_path: Path) -> None:
    store = open_blobs(Blobs(), tmp_path)
    objects = tmp_path / "blobs" / "objects"
    for key in ("chunks/b1/c1/att/output", "chunks/b1/c2/att/output", "chunks/b2/c1/att/output"):
        await store.put(key, b"x")
    await store.delete(["chunks/b1/c1/att/output", "chunks/b2/c1/att/output"])
    for folder in objects.rglob("*"):
        os.utime(folder, (time.time() - local_put._ABANDONED_S - 60,) * 2)
    (objects / "chunks/b2/c1").touch()
    for _ in range(4):  # a folder that has lost one waits anew
        await store.tidy()
        for folder in objects.glob("chunks/b1/**"):
            os.utime(folder, (time.time() - local_put._ABANDONED_S - 60,) * 2)
    left = sorted(str(path.relative_to(objects)) for path in objects.rglob("*"))
    assert left == [
        *("chunks", "chunks/b1", "chunks/b1/c2", "chunks/b1/c2/att", "chunks/b1/c2/att/output"),
        *("chunks/b2", "chunks/b2/c1"),
    ]
    assert await store.get("chunks/b1/c2/att/output") == b"x"


async def test_puts_into_folders_that_are_pruned_under_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the folder and moving the object there, and at every other moment."""
    monkeypatch.setattr(local_put, "_ABANDONED_S", -60.0)
    store = open_blobs(Blobs(), tmp_path)
    monkeypatch.setattr(local_put.LocalPut, "sweep", lambda _: None)  # it would take what is new
    stop = asyncio.Event()

    async def prune() -> int:
        rounds = 0
        while not stop.is_set():
            await store.tidy()
            rounds += 1
            await asyncio.sleep(0.01)  # a folder that is new is safe for hours in earnest
        return rounds

    async def put(writer: int) -> None:
        for number in range(150):
            key = f"chunks/b/{number % 3}/{writer % 2}/x{writer}"
            await store.put(key, b"x")
            assert await store.get(key) == b"x"
            await store.delete([key])

    pruning = asyncio.create_task(prune())
    await asyncio.gather(*map(put, range(4)))
    stop.set()
    assert await pruning > 10


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file is in the way")
    with pytest.raises(BlobUnavailableError, match=str(tmp_path)):
        open_blobs(Blobs(), tmp_path)


async def test_a_url_names_the_folder(tmp_path: Path) -> None:
    store = open_blobs(Blobs(url=(tmp_path / "with space").as_uri()), tmp_path / "unused")
    await store.put("a/x", b"1")
    assert (tmp_path / "with space" / "objects" / "a" / "x").read_bytes() == b"1"
    assert store.is_local


# S3 alone


async def test_an_s3_store_is_not_local(s3: str, tmp_path: Path) -> None:
    assert not open_blobs(s3_settings(s3, "x"), tmp_path).is_local


async def test_an_interrupted_upload_leaves_no_parts_that_cost(s3: str, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(14):
            yield bytes(1 << 20)
        raise LookupError

    with pytest.raises(LookupError):
        await open_blobs(s3_settings(s3, "parts"), tmp_path).put("a/x", broken())
    uploads = await asyncio.to_thread(s3_client(s3).list_multipart_uploads, Bucket="bucket")
    assert [u for u in uploads.get("Uploads", []) if u["Key"].startswith("parts/")] == []


@pytest.mark.parametrize("url", ["nonsense://bucket", "s4://x"])
def test_a_url_that_makes_no_store_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"blobs\.url"):
        open_blobs(Blobs(url=url), tmp_path)


def test_an_unknown_option_is_refused_without_its_value(tmp_path: Path) -> None:
    settings = Blobs(url="s3://bucket/x", options={"no_such_option": Secret("hidden")})
    with pytest.raises(ConfigError, match="no_such_option") as raised:
        open_blobs(settings, tmp_path)
    assert "hidden" not in str(raised.value)


async def test_a_store_that_is_away_is_unavailable(tmp_path: Path) -> None:
    settings = s3_settings(f"http://127.0.0.1:{free_port()}", "x")
    store = open_blobs(settings, tmp_path)
    async with asyncio.timeout(90):
        with pytest.raises(BlobUnavailableError, match="could not read 'a/x'") as raised:
            await store.get("a/x")
    assert "hidden" not in str(raised.value)


def test_errors_tell_full_from_failed(tmp_path: Path) -> None:
    full = local_put._failed(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, BlobStoreFullError)
    broken = local_put._failed(tmp_path, OSError(errno.EIO, "Input/output error"))
    assert isinstance(broken, BlobUnavailableError)
