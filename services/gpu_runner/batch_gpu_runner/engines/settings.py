"""What an engine is made from: its name, its models, its options and where it keeps files."""

import re
import sys
from pathlib import Path

import msgspec

from batch_common.config import Runner
from batch_common.model_spec import default_name, local_path, split_spec
from batch_common.secret import Secret
from batch_gpu_runner.engines.base import EngineOptionError

ENGINES = ("auto", "vllm", "llamacpp", "openai", "sim")

_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*")
_MAX_NAME = 200


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One runner's engine.

    engine: one of ENGINES
    models: `[NAME=]PATH_OR_HUB_ID` each (`[NAME=]UPSTREAM_NAME` for `openai`); empty for the
        engine's own default
    options: from repeated `-o key=value`, the key as typed; each engine documents its own
    state_dir: folder for output files and sockets, this runner's alone; made when missing
    base_url, api_key: of `openai` only, as in the OpenAI client
    python: the interpreter that has vLLM; empty for our own. `-o python=…` goes before it
    start_timeout_s: from the process's start until it serves (loading, compiling, downloading)
    stop_grace_s: from the polite signal to the one that cannot be refused
    """

    engine: str = "auto"
    models: tuple[str, ...] = ()
    options: dict[str, str] = {}
    state_dir: Path
    base_url: str = ""
    api_key: Secret = Secret("")
    python: str = ""
    start_timeout_s: float = 1800.0
    stop_grace_s: float = 8.0

    def interpreter(self) -> str:
        """The Python that runs vLLM."""
        return self.options.get("python") or self.python or sys.executable


def engine_settings(runner: Runner, state_dir: Path) -> EngineSettings:
    """The runner's configuration as an engine's; `state_dir` as described there."""
    return EngineSettings(
        engine=runner.engine,
        models=runner.models,
        options=dict(runner.options),
        state_dir=state_dir,
        base_url=runner.base_url,
        api_key=runner.api_key,
        python=runner.python,
        start_timeout_s=runner.start_timeout_s,
    )


class ModelSpec(msgspec.Struct, frozen=True):
    """One model: the name requests use, and what the engine loads (a path or a hub id).

    path: `source` as an absolute path when it lies on this machine; None for a hub id
    """

    name: str
    source: str
    path: Path | None = None


def parse_model(text: str) -> ModelSpec:
    """`[NAME=]PATH_OR_HUB_ID`; NAME defaults to the hub id, the folder's or the file's name.

    What is a path must exist. Raises EngineOptionError.
    """
    name, source = _split(text.strip())
    path = local_path(source)
    if path is None:
        return ModelSpec(_checked_name(name or source, text), source)
    if not path.exists():
        raise EngineOptionError(
            f"model {text!r}: {path} does not exist; give an existing folder or file, or a hub id"
        )
    return ModelSpec(_checked_name(name or default_name(path), text), str(path), path)


def parse_upstream(text: str) -> ModelSpec:
    """`[NAME=]UPSTREAM_NAME` of an endpoint that already runs. Raises EngineOptionError."""
    name, source = _split(text.strip())
    return ModelSpec(_checked_name(name or source, text), source)


def parse_upstreams(texts: tuple[str, ...]) -> tuple[ModelSpec, ...]:
    """Each as `parse_upstream` reads it. Raises EngineOptionError, also for a name given twice."""
    specs = tuple(parse_upstream(text) for text in texts)
    check_distinct(specs)
    return specs


def check_distinct(specs: tuple[ModelSpec, ...]) -> None:
    """Raise EngineOptionError when requests could mean either of two models."""
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise EngineOptionError(
            f"two models have the same name among {', '.join(names)}: "
            "give them others as NAME=PATH_OR_HUB_ID"
        )


def parse_options(pairs: tuple[str, ...]) -> dict[str, str]:
    """`key=value` each, the value verbatim; raises EngineOptionError for anything else."""
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise EngineOptionError(f"engine option {pair!r}: write it as key=value")
        check_option_name(key)
        if key in options:
            raise EngineOptionError(f"engine option {key!r} is given twice; give it once")
        options[key] = value
    return options


def check_option_name(key: str) -> None:
    """Raise EngineOptionError unless `key` looks like an option: words joined by - _ or a dot."""
    if not _OPTION.fullmatch(key):
        raise EngineOptionError(
            f"engine option {key!r}: a name has letters and digits joined by '-', '_' or '.', "
            "without leading dashes, as in max_model_len"
        )


def _split(text: str) -> tuple[str, str]:
    """(NAME or "", rest)."""
    if not text:
        raise EngineOptionError("an empty model: write it as [NAME=]PATH_OR_HUB_ID")
    name, source = split_spec(text)
    if not source or (not name and source != text):
        raise EngineOptionError(f"model {text!r}: write it as NAME=PATH_OR_HUB_ID")
    return name, source


def _checked_name(name: str, text: str) -> str:
    if not name or len(name) > _MAX_NAME or not name.isprintable() or name != name.strip():
        raise EngineOptionError(
            f"model {text!r}: the name must be 1 to {_MAX_NAME} printable characters; "
            "give one as NAME=PATH_OR_HUB_ID"
        )
    return name
