"""The configuration that the services of one standalone run are given."""

import secrets
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from batch_cli.standalone.folder import DataFolder, write_private
from batch_common.config import LOOPBACK_HOSTS, Config, Nats
from batch_common.config_file import dump_config
from batch_common.errors import ConfigError
from batch_common.secret import Secret

DEFAULT_NATS_PORT: Final = 4222
_NATS_USER: Final = "vllm-batch"
# Everything has left 30 s after the signal; stopping the engine takes up to 9 s of them.
_RUNNER_DRAIN_S: Final = 12.0
_GATEWAY_DRAIN_S: Final = 20.0


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says; None and empty: nothing."""

    data_dir: str | None = None
    host: str | None = None
    port: int | None = None
    metrics_port: int | None = None
    engine: str | None = None
    models: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    def overrides(self) -> dict[str, Any]:
        """For `load_config`: flags go before file and environment, options beside theirs."""
        gateway = {"host": self.host, "port": self.port}
        metrics = {"port": self.metrics_port}
        runner = {
            "engine": self.engine,
            "models": list(self.models) or None,
            "options": dict(self.options) or None,
        }
        return {
            key: value
            for key, value in {
                "data_dir": self.data_dir,
                "gateway": _given(gateway),
                "metrics": _given(metrics),
                "runner": _given(runner),
            }.items()
            if value
        }


def nats_port(settings: Nats) -> int:
    """The port that nats.url asks for, 0 for any free one.

    Raises ConfigError for another machine's server.
    """
    url = urlsplit(settings.url.reveal())
    if "," in settings.url.reveal() or url.hostname not in LOOPBACK_HOSTS:
        raise ConfigError(
            "nats.url names a server of another machine, but this command starts its own: leave "
            "nats.url out, or start the services one by one (vllm-batch gateway, …)"
        )
    return DEFAULT_NATS_PORT if url.port is None else url.port


def effective(config: Config, folder: DataFolder, *, port: int, nats: int) -> Config:
    """`config` with every address, folder and credential as it is in this run."""
    user, password = _credentials(config.nats, folder)
    return msgspec.structs.replace(
        config,
        data_dir=str(folder.root),
        nats=msgspec.structs.replace(
            config.nats,
            url=Secret(f"nats://127.0.0.1:{nats}"),
            user=user,
            password=Secret(password),
            credentials="",
            replicas=1,
        ),
        gateway=msgspec.structs.replace(
            config.gateway, port=port, drain_s=min(config.gateway.drain_s, _GATEWAY_DRAIN_S)
        ),
        runner=msgspec.structs.replace(
            config.runner, drain_s=min(config.runner.drain_s, _RUNNER_DRAIN_S)
        ),
    )


def write_settings(config: Config, folder: DataFolder) -> None:
    """The services' configuration and NATS's address, for their owner's eyes only."""
    write_private(folder.config, dump_config(config))
    nats = config.nats
    password = quote(nats.password.reveal(), safe="")
    address = nats.url.reveal().removeprefix("nats://")
    write_private(folder.nats_url, f"nats://{quote(nats.user)}:{password}@{address}\n")


def _credentials(nats: Nats, folder: DataFolder) -> tuple[str, str]:
    """The configured ones, else the folder's own: no other user of this machine gets in, and no
    service of another data folder that was given our port by chance.
    """
    if nats.user:
        return nats.user, nats.password.reveal()
    kept = folder.root / "nats.password"
    if not kept.exists():
        write_private(kept, secrets.token_urlsafe(24))
    return _NATS_USER, kept.read_text("utf-8").strip()


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if value is not None}
