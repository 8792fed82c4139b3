"""llama.cpp's server (`xllamacpp`) for GGUF files, in a child process of ours.

Options are listed in `OPTIONS`; their meaning is llama.cpp's own.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec

from batch_gpu_runner.engines.base import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    RESPONSES,
    EngineOptionError,
)
from batch_gpu_runner.engines.llamacpp_server import ServerOptions
from batch_gpu_runner.engines.load_metrics import LLAMACPP
from batch_gpu_runner.engines.managed import ManagedEngine, Recipe
from batch_gpu_runner.engines.option_values import typed_options
from batch_gpu_runner.engines.settings import EngineSettings, ModelSpec

INSTALL = "pip install 'vllm-batch-server[llamacpp]'"
_ADVICE = (
    "Check that the file is a GGUF model and that it fits into memory; "
    "-o n_ctx=… and -o n_parallel=… set how much context it keeps."
)


def llamacpp_engine(settings: EngineSettings, model: ModelSpec) -> ManagedEngine:
    """Raises EngineOptionError for an unknown option, a model that is no file, or no llama.cpp."""
    options = parse_server_options(settings.options)
    if not has_llamacpp():
        raise EngineOptionError(f"llama.cpp is not installed: {INSTALL}")
    if model.path is None or not model.path.is_file():
        raise EngineOptionError(
            f"model {model.name!r}: llama.cpp reads a GGUF file; give its path as "
            "--model NAME=/path/to/model.gguf, or choose --engine vllm"
        )
    arguments = msgspec.json.encode(options).decode()

    def command(socket: Path) -> tuple[str, ...]:
        module = "batch_gpu_runner.engines.llamacpp_server"
        return (
            sys.executable,
            "-P",
            "-m",
            module,
            str(socket),
            model.source,
            model.name,
            arguments,
        )

    generating = {CHAT, COMPLETIONS, RESPONSES}
    recipe = Recipe(
        engine="llamacpp",
        models=(model.name,),
        command=command,
        endpoints=frozenset(generating | {EMBEDDINGS} if options.embeddings else generating),
        window=options.n_parallel * 2,
        load_names=LLAMACPP if options.metrics else None,
        advice=_ADVICE,
    )
    return ManagedEngine(recipe, settings)


def has_llamacpp() -> bool:
    """Whether `xllamacpp` is installed; it is not imported."""
    return find_spec("xllamacpp") is not None


def parse_server_options(options: dict[str, str]) -> ServerOptions:
    """Raises EngineOptionError that lists what there is."""
    chosen = typed_options("llamacpp", options, ServerOptions)
    if chosen.n_threads:
        return chosen
    return msgspec.structs.replace(chosen, n_threads=_processors())


def _processors() -> int:
    """Those this process may use, which in a container are fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1
