"""Whether the configured result handlers can be made, found out before anything starts."""

import os
import subprocess
from typing import Final

from batch_cli.standalone.folder import DataFolder
from batch_cli.standalone.last_error import last_error_in
from batch_cli.standalone.programs import inherited, ourselves
from batch_common.config import Config
from batch_common.errors import ConfigError

_CHECK_S: Final = 120.0


def check_handlers(config: Config, folder: DataFolder) -> None:
    """In a process of its own: what handlers load, start and leave behind is not for the launcher.

    Raises ConfigError, which says what the handler, or the code that it is made of, does not like.
    """
    if not config.sinks.enabled:
        return
    command = (*ourselves(), "sinks", "check", "--config", str(folder.config))
    try:
        done = subprocess.run(
            command,
            env=inherited(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_CHECK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"a handler of result_handlers.enabled is not made within {_CHECK_S:g} s: see what its "
            "constructor, or the import of its module, waits for"
        ) from None
    if done.returncode:
        said = last_error_in(done.stderr.decode("utf-8", "replace"))
        raise ConfigError(said or f"the handlers cannot be made: exit code {done.returncode}")
