"""What is examined: an installation of `up`, or services that a configuration describes."""

import fcntl
from pathlib import Path
from typing import Final

import msgspec

from batch_cli.standalone.folder import DataFolder
from batch_cli.standalone.settings import Flags
from batch_common.config import Config
from batch_common.config_file import data_dir, load_config
from batch_common.errors import ConfigError
from batch_gpu_runner.engines.auto import choose_engine, look_at_machine
from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.settings import EngineSettings, engine_settings

_NO_FLAGS: Final = Flags()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """standalone: NATS comes with `up`; else it is a server that has to be there
    has_runner: whether one runs here, or is to
    running: `up` runs here now, and `config` is what its services were given
    asked: but for its runner, which is the one that flags describe
    unseen: flags of `up` that an `up` which runs already leaves no room to look at
    engine: decided where the configuration says `auto`; None: none fits this machine
    why_no_engine: what to do about that
    """

    config: Config
    folder: DataFolder
    standalone: bool
    running: bool
    has_runner: bool = True
    engine: str | None
    why_no_engine: str = ""
    asked: bool = False
    unseen: tuple[str, ...] = ()

    @property
    def engine_settings(self) -> EngineSettings:
        return engine_settings(self.config.runner, self.folder.root / "engines")


def find_place(
    config: Config, *, standalone: bool, has_runner: bool = True, flags: Flags = _NO_FLAGS
) -> Place:
    """`flags`: those that `config` was made with. Raises ConfigError.

    Blocks for some 100 ms when the engine is to be chosen.
    """
    folder = DataFolder(data_dir(config))
    running = standalone and _is_running(folder)
    asked = running and bool(flags.engine or flags.models or flags.options)
    if running:
        given = load_config(folder.config, environ={})
        config = msgspec.structs.replace(given, runner=config.runner) if asked else given
    engine, why = _engine(config, folder) if has_runner else (None, "")
    return Place(
        config=config,
        folder=folder,
        standalone=standalone,
        running=running,
        has_runner=has_runner,
        engine=engine,
        why_no_engine=why,
        asked=asked,
        unseen=_unseen(flags) if running else (),
    )


def _unseen(flags: Flags) -> tuple[str, ...]:
    given = {"--host": flags.host, "--port": flags.port}
    return tuple(name for name, value in given.items() if value is not None)


def _engine(config: Config, folder: DataFolder) -> tuple[str | None, str]:
    if config.runner.engine != "auto":
        return config.runner.engine, ""
    settings = engine_settings(config.runner, folder.root / "engines")
    try:
        return choose_engine(look_at_machine(settings.interpreter()), settings.models), ""
    except (EngineOptionError, ConfigError) as error:
        return None, str(error)


def _is_running(folder: DataFolder) -> bool:
    lock: Path = folder.run / "launcher.lock"
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return folder.config.exists()
    except OSError:
        return False
    return False
