"""Finding a user's handler class: an installed package's entry point, or MODULE:CLASS."""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
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
        found = _from_entry_point(settings.handler, name, built_in)
    if not (isinstance(found, type) and issubclass(found, ResultHandler)):
        raise ConfigError(
            f"{where}.handler: {_called(found)} is no subclass of batch_sinks.ResultHandler: "
            "derive it from that"
        )
    return _make(found, settings, where)


def _called(found: Any) -> str:
    return getattr(found, "__qualname__", None) or f"{found!r:.100}"


def _make(kind: type[ResultHandler], settings: CustomHandler, where: str) -> ResultHandler:
    """What a constructor says may hold its options, so only the kind of its error is told."""
    if missing := getattr(kind, "__abstractmethods__", None):
        raise ConfigError(
            f"{where}.handler: {kind.__name__} has no method {', '.join(sorted(missing))}: write it"
        )
    options = settings.options.reveal()
    _check_options(kind, options, where)
    try:
        return kind(**options)
    except Exception as error:  # noqa: BLE001 - it is somebody else's code
        raise ConfigError(
            f"{where}: {kind.__name__} could not be made from its options "
            f"({type(error).__name__}); call it with them in a Python shell to see why"
        ) from None


def _check_options(kind: type[ResultHandler], options: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError for an option that the constructor does not take, or that it lacks."""
    signature = inspect.signature(kind)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ConfigError(
            f"{where}.options do not fit {kind.__name__}: {error}; it takes "
            f"{', '.join(map(str, signature.parameters.values())) or 'none'}"
        ) from None


def _from_module(text: str, folder: str, where: str) -> Any:
    module_name, _, class_name = text.partition(":")
    if not (module_name and class_name):
        raise ConfigError(f"{where}.handler {text!r} is not of the form MODULE:CLASS")
    if folder:
        _look_in(folder)
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


def _look_in(folder: str) -> None:
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise ConfigError(
            f"result_handlers.folder: {path} is no folder; make it, or name the one that your "
            "modules are in"
        )
    if str(path) not in sys.path:
        sys.path.append(str(path))


def _from_entry_point(handler: str, name: str, built_in: Sequence[str]) -> Any:
    """`handler` is empty where the name in `enabled` is to be the entry point's."""
    entry = handler or name
    found = {point.name: point for point in entry_points(group=GROUP)}
    if entry not in found and handler:
        known = f" ({', '.join(sorted(found))})" if found else " (there is none)"
        raise ConfigError(
            f"result_handlers.custom.{name}.handler {handler!r} is neither an entry point of an "
            f"installed package{known} nor of the form MODULE:CLASS"
        )
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
