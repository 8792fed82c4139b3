"""What one standalone run consists of: its processes, as data."""

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from batch_cli.nats_server import find_server, server_config
from batch_cli.standalone.folder import DataFolder, write_private
from batch_cli.standalone.metrics_ports import metrics_ports
from batch_common.config import Config
from batch_common.service import PARENT_VARIABLE

_PREFIX: Final = "VLLM_BATCH_"
_NATS_GRACE_S: Final = 5


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """One process. guarded: it runs under the guard, which watches its standard input."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    guarded: bool = False

    @property
    def is_runner(self) -> bool:
        return self.name.startswith("runner")


def nats_program(config: Config, folder: DataFolder, port: int) -> Program:
    """nats-server under a guard, since it does not notice when its launcher is killed."""
    settings = folder.run / "nats.conf"
    text = server_config(
        host="127.0.0.1",
        port=port,
        store_dir=folder.root,  # nats-server makes its jetstream/ there
        user=config.nats.user,
        password=config.nats.password.reveal(),
    )
    write_private(settings, text)
    server = str(find_server(config.nats))
    lock = folder.run / "nats.lock"
    guard = (sys.executable, "-P", "-m", "batch_common.guard", str(lock), str(_NATS_GRACE_S))
    return Program(
        name="nats-server",
        command=(*guard, "--", server, "-c", str(settings)),
        environment=dict(os.environ),
        log=folder.logs / "nats-server.log",
        guarded=True,
    )


def service_programs(
    config: Config, folder: DataFolder, runners: int, environ: Mapping[str, str] = os.environ
) -> tuple[Program, ...]:
    """Scheduler, gateway, sinks and runners, each as `vllm-batch NAME --config …`."""
    base = inherited(environ)
    gpus = gpu_groups(environ, _gpus() if runners > 1 else 0, runners)
    programs = [_service(name, name, {}, folder, base) for name in ("scheduler", "gateway")]
    for number, group in enumerate(gpus, start=1):
        name = "runner" if runners == 1 else f"runner-{number}"
        own = {"VLLM_BATCH_RUNNER__STATE_DIR": str(_state_dir(config, folder, name))} | group
        programs.append(_service("runner", name, own, folder, base))
    programs.append(_service("sinks", "sinks", {}, folder, base))
    ports = metrics_ports(config.metrics, [program.name for program in programs])
    return tuple(_with_metrics(program, ports) for program in programs)


def gpu_groups(environ: Mapping[str, str], gpus: int, runners: int) -> list[dict[str, str]]:
    """The environment by which each runner sees its share of the GPUs, the same number each.

    Empty where there are fewer GPUs than runners, or one runner: it sees what we see.
    """
    named = environ.get("CUDA_VISIBLE_DEVICES")
    devices = [str(n) for n in range(gpus)] if named is None else named.split(",")
    size = len(devices) // runners
    if runners == 1 or size == 0:
        return [{} for _ in range(runners)]
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(devices[n * size : (n + 1) * size])}
        for n in range(runners)
    ]


def _gpus() -> int:
    from batch_gpu_runner.engines.auto import nvidia_gpus  # noqa: PLC0415 - asks the driver

    return nvidia_gpus()


def _service(
    service: str, name: str, own: Mapping[str, str], folder: DataFolder, base: Mapping[str, str]
) -> Program:
    return Program(
        name=name,
        command=(*ourselves(), service, "--config", str(folder.config)),
        environment={**base, **own},
        log=folder.logs / f"{name}.log",
    )


def _with_metrics(program: Program, ports: Mapping[str, int]) -> Program:
    if program.name not in ports:
        return program
    own = {f"{_PREFIX}METRICS__PORT": str(ports[program.name])}
    return msgspec.structs.replace(program, environment={**program.environment, **own})


def _state_dir(config: Config, folder: DataFolder, name: str) -> Path:
    above = Path(config.runner.state_dir) if config.runner.state_dir else folder.root / "engines"
    return above / name


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Our environment without its settings: the configuration that is written down holds them."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_PREFIX)}
    return kept | {PARENT_VARIABLE: str(os.getpid())}


def ourselves() -> tuple[str, ...]:
    """`vllm-batch` as it is installed beside this interpreter: the process list then names it."""
    script = Path(sysconfig.get_path("scripts")) / "vllm-batch"
    if script.is_file():
        return (sys.executable, "-P", str(script))
    return (sys.executable, "-P", "-m", "batch_cli")
