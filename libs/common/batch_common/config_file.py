"""Reading `config.Config` from a file and the environment, and writing it back."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import yaml

from batch_common.config import Config
from batch_common.config_words import in_words
from batch_common.errors import ConfigError
from batch_common.secret import ApiKeys, Options, Secret

_ENV_PREFIX = "VLLM_BATCH_"
# Keys of this mapping are told apart by their case, which names of variables do not have.
_KEYS = ("gateway", "api_keys")
# Values of these are text, as `-o key=value` has them.
_VERBATIM = ("runner", "options")
# `$${` stands for `${` itself.
_REFERENCE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_config(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The file's settings, the environment's over them, `overrides` (nested) over both.

    Raises ConfigError naming the file or variable and what is wrong there.
    """
    tree = _read(path, environ) if path else {}
    _merge(tree, _from_environment(environ))
    _merge(tree, overrides or {})
    where = str(path) if path else "the configuration"
    return parse_config(tree, where)


def parse_config(tree: Mapping[str, Any], where: str) -> Config:
    """Raises ConfigError; `where` names the source in its message."""
    try:
        return msgspec.convert(tree, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        said = in_words(error, Config)
        raise ConfigError(f"{where}: {said}; docs/CONFIGURATION.md lists every key") from error


def dump_config(config: Config) -> str:
    """YAML that `load_config` reads back to an equal Config. It holds secrets in the clear."""
    tree = msgspec.to_builtins(config, enc_hook=_reveal, str_keys=True)
    return yaml.safe_dump(_escape(tree), sort_keys=False)


def data_dir(config: Config) -> Path:
    """The folder for everything this installation keeps, absolute."""
    if config.data_dir:
        return Path(config.data_dir).expanduser().absolute()
    return Path(platformdirs.user_data_dir("vllm-batch-server", appauthor=False))


def _read(path: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check --config") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {_problem(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, as in docs/CONFIGURATION.md")
    return {key: _interpolate(value, environ, path) for key, value in tree.items()}


def _interpolate(value: Any, environ: Mapping[str, str], path: Path) -> Any:
    match value:
        case str():
            return _REFERENCE.sub(lambda ref: _lookup(ref, environ, path), value)
        case dict():
            return {
                _interpolate(k, environ, path): _interpolate(v, environ, path)
                for k, v in value.items()
            }
        case list():
            return [_interpolate(item, environ, path) for item in value]
    return value


def _escape(value: Any) -> Any:
    """The inverse of `_interpolate`: a password may hold what looks like a reference."""
    match value:
        case str():
            return value.replace("${", "$${")
        case dict():
            return {_escape(key): _escape(item) for key, item in value.items()}
        case list() | tuple():
            return [_escape(item) for item in value]
    return value


def _lookup(reference: re.Match[str], environ: Mapping[str, str], path: Path) -> str:
    literal, name, default = reference.groups()
    if literal:
        return str(literal)
    found = environ.get(name, default)
    if found is None:
        raise ConfigError(
            f"{path} refers to ${{{name}}}, which the environment does not set: set it, "
            f"or give a default as ${{{name}:-value}}"
        )
    return str(found)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`A__B__C=v` as {a: {b: {c: v}}}. What names a whole section goes before what is in it."""
    tree: dict[str, Any] = {}
    given = {
        tuple(name.removeprefix(_ENV_PREFIX).lower().split("__")): name
        for name in environ
        if name.startswith(_ENV_PREFIX)
    }
    for path in sorted(given, key=lambda path: (len(path), path)):
        if len(path) == 1 and path[0] not in Config.__struct_encode_fields__:
            continue  # of something else that is called like us
        text = environ[given[path]]
        value = text if path[:-1] == _VERBATIM else _scalar(given[path], text)
        _place(tree, path, value, given[path])
    return tree


def _place(tree: dict[str, Any], path: tuple[str, ...], value: Any, name: str) -> None:
    *above, key = path
    if path[:-1] == _KEYS:
        raise ConfigError(
            f"{_ENV_PREFIX}GATEWAY__API_KEYS__… in the environment names an API key, and names of "
            "variables are read in lower case: give all keys as one mapping, "
            f"{_ENV_PREFIX}GATEWAY__API_KEYS='{{key: tenant}}'"
        )
    for section in above:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(
                f"the environment variable {name} is a key of {section}, which another variable "
                "sets to something without keys: leave one of them out"
            )
    tree[key] = value


def _scalar(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the environment variable {name} is not valid YAML ({_problem(error)}): put quotes "
            "around its value"
        ) from None


def _problem(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """The place only: YAML's own words quote what stands there, which may be a password."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    mark = getattr(error, "problem_mark", None)
    return f"see line {mark.line + 1}, column {mark.column + 1}" if mark else "it cannot be read"


def _merge(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        below = tree.get(key)
        if isinstance(below, dict) and isinstance(value, Mapping):
            _merge(below, value)
        else:
            tree[key] = value


def _decode(kind: type, value: Any) -> Any:
    if kind is ApiKeys:
        return _decode_keys(value)
    if kind is Options:
        return _decode_options(value)
    if kind is not Secret:
        raise NotImplementedError(kind)
    if not isinstance(value, str | int):
        raise ValueError(f"expected text, got {type(value).__name__}")  # noqa: TRY004 - msgspec adds the path to a ValueError
    return Secret(str(value))


def _decode_keys(value: Any) -> ApiKeys:
    if not isinstance(value, dict):
        raise ValueError("expected a mapping of API keys to tenants")  # noqa: TRY004 - as above
    pairs = {str(key): tenant for key, tenant in value.items()}
    if not all(isinstance(tenant, str) and tenant for tenant in pairs.values()):
        raise ValueError("every API key needs the name of its tenant")
    return ApiKeys(pairs)


def _decode_options(value: Any) -> Options:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError("expected a mapping of option names to values")
    return Options(value)


def _reveal(value: Any) -> Any:
    if isinstance(value, Secret | ApiKeys | Options):
        return value.reveal()
    raise NotImplementedError(type(value))
