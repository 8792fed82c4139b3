"""From flags to a plan: what is wrong is found before anything starts."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from batch_cli.standalone.folder import DataFolder, claimed, write_private
from batch_cli.standalone.handlers import check_handlers
from batch_cli.standalone.metrics_ports import addresses, metrics_ports, targets
from batch_cli.standalone.ports import check_free, free_port
from batch_cli.standalone.programs import nats_program, service_programs
from batch_cli.standalone.report import Report
from batch_cli.standalone.settings import Flags, effective, nats_port, write_settings
from batch_cli.standalone.stack import Plan
from batch_common.config import Config, Log
from batch_common.config_file import data_dir, load_config
from batch_common.logs import set_up_logs


def read_config(file: str | None, flags: Flags) -> Config:
    """Flags before environment before file. Raises ConfigError."""
    return load_config(Path(file) if file else None, overrides=flags.overrides())


@contextlib.contextmanager
def prepared(config: Config, runners: int, report: Report) -> Iterator[Plan]:
    """The data folder is ours, and everything the processes need is written there.

    Raises ConfigError for a model or an option no engine can be started with, and for a result
    handler that cannot be made; StartError for a folder or a port that somebody else has.
    """
    # What the launcher has to say the report says; standard output is for `ready`.
    set_up_logs(Log(level="warning"), "launcher")
    wanted_nats = nats_port(config.nats)
    folder = DataFolder(data_dir(config))
    _check_engine(config, folder)
    host = config.gateway.host
    if not folder.run.exists():  # no earlier run can hold the port: leave no folder behind either
        check_free(host, config.gateway.port)
    with claimed(
        folder, lambda: report.say("waiting for an earlier run's services to leave")
    ) as lock:
        port = check_free(host, config.gateway.port)
        nats = free_port(wanted_nats)
        ours = effective(config, folder, port=port, nats=nats)
        write_settings(ours, folder)
        check_handlers(ours, folder)
        services = service_programs(ours, folder, runners)
        ports = _list_metrics(ours, folder, [program.name for program in services])
        report.say(f"data folder {folder.root}")
        if ports:
            report.say(f"metrics: {addresses(ours.metrics.host, ports)}")
        yield Plan(
            folder=folder,
            nats=nats_program(ours, folder, nats),
            nats_port=nats,
            services=services,
            host=host,
            port=port,
            runners=runners,
            lock=lock,
        )


def _list_metrics(config: Config, folder: DataFolder, names: Sequence[str]) -> dict[str, int]:
    """By service; empty: none. Raises StartError for a port that somebody else has."""
    ports = metrics_ports(config.metrics, names)
    folder.metrics_targets.unlink(missing_ok=True)
    if not ports:
        return ports
    for port in ports.values():
        check_free(config.metrics.host, port, "--metrics-port")
    write_private(folder.metrics_targets, targets(config.metrics.host, ports))
    return ports


def _check_engine(config: Config, folder: DataFolder) -> None:
    from batch_gpu_runner.engines.registry import create_engine  # noqa: PLC0415 - loads engines
    from batch_gpu_runner.engines.settings import engine_settings  # noqa: PLC0415 - likewise

    create_engine(engine_settings(config.runner, folder.root / "engines"))
