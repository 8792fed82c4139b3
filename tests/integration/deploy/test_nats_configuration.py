"""nats-server itself reads the shipped configurations."""

import os
import subprocess
from pathlib import Path

import pytest

from batch_cli.nats_server import find_server
from batch_common.config import Nats
from support.shipped_nats import SHIPPED, passwords

_CLUSTER = {"NATS_NAME": "n1", "NATS_ROUTES": "[nats://a:6222, nats://b:6222]"}


def _read(file: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
    return subprocess.run(
        [find_server(Nats()), "-t", "-c", SHIPPED / file],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=kept | environ,
    )


@pytest.mark.parametrize("file", ["nats-server.conf", "cluster.conf"])
def test_the_server_takes_it(file: str) -> None:
    said = _read(file, passwords() | _CLUSTER)
    assert said.returncode == 0, said.stderr
    assert "is valid" in said.stderr


@pytest.mark.parametrize("missing", sorted(passwords().keys() - {"NATS_ROUTE_PASSWORD"}))
def test_nobody_is_without_a_password_by_mistake(missing: str) -> None:
    said = _read("nats-server.conf", {k: v for k, v in passwords().items() if k != missing})
    assert said.returncode != 0
    assert missing in said.stderr


def test_both_keep_what_they_have_acknowledged() -> None:
    for file in ("nats-server.conf", "cluster.conf"):
        assert "\n  sync_interval: always\n" in Path(SHIPPED / file).read_text("utf-8")
