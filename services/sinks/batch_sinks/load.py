"""Finding a user's handler class: an installed package's entry point, or MODULE:CLASS."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from batch_common.config import CustomHandler
from batch_common.errors import ConfigError
from batch_sinks.handler import ResultHandler

GROUP: Final = "vllm_batch.result_handlers"


def load_handler(
    name: str, settings: CustomHandler, folder: str, built_in: Sequence[str]
) -> ResultHandler:
    """Raises ConfigError, which says where the class was looked for and what is wrong with it."""
    where = f"result_handlers.custom.{name}"
    if ":" in settings.handler:
        found = _from_module(settings.handler, folder, where)
    else:
        found = _from_entry_point(settings.handler or name, name, built_in)
    if not (isinstance(found, type) and issubclass(found, ResultHandler)):
        raise ConfigError(f"{where}: {found!r:.100} is no subclass of batch_sinks.ResultHandler")
    return _make(found, settings, where)


def _make(kind: type[ResultHandler], settings: CustomHandler, where: str) -> ResultHandler:
    """What a constructor says may hold its options, so only the kind of its error is told."""
    options = settings.options.reveal()
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigError(
            f"{where}.options ({', '.join(options) or 'none'}) do not fit {kind.__name__}: {error}"
        ) from error
    except Exception as error:  # noqa: BLE001 - it is somebody else's code
        raise ConfigError(
            f"{where}: {kind.__name__} could not be made from its options "
            f"({type(error).__name__}); call it with them in a Python shell to see why"
        ) from None


def _from_module(text: str, folder: str, where: str) -> Any:
    module_name, _, class_name = text.partition(":")
    if folder:
        path = str(Path(folder).expanduser().absolute())
        if path not in sys.path:
            sys.path.append(path)
    try:
        return getattr(importlib.import_module(module_name), class_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{where}.handler: no module {error.name!r}; install it, or set "
            "result_handlers.folder to the folder it is in"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"{where}.handler: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"{where}.handler: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error


def _from_entry_point(entry: str, name: str, built_in: Sequence[str]) -> Any:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if entry not in found:
        choices = ", ".join([*built_in, *sorted(found)])
        raise ConfigError(
            f"result_handlers.enabled names {name!r}, which is no handler: choose from {choices}, "
            f"or say in result_handlers.custom.{name}.handler which class it is (MODULE:CLASS)"
        )
    try:
        return found[entry].load()
    except Exception as error:
        raise ConfigError(
            f"the entry point {entry!r} ({found[entry].value}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
