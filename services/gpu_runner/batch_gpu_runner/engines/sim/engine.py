"""The engine `sim`: the simulated server under the same care as a real one."""

import sys
from pathlib import Path

import msgspec

from batch_gpu_runner.engines.base import ENDPOINTS
from batch_gpu_runner.engines.load_metrics import VLLM
from batch_gpu_runner.engines.managed import ManagedEngine, Recipe
from batch_gpu_runner.engines.settings import EngineSettings, parse_upstreams
from batch_gpu_runner.engines.sim.options import SimOptions, parse_sim_options

DEFAULT_MODEL = "sim"
DEFAULT_WINDOW = 128
_ADVICE = "It needs no model and no GPU: its options are most likely the cause."


def sim_engine(settings: EngineSettings) -> ManagedEngine:
    """One server for all models. Raises EngineOptionError for an unknown option."""
    models = tuple(spec.name for spec in parse_upstreams(settings.models)) or (DEFAULT_MODEL,)
    options = _with_absolute_paths(parse_sim_options(settings.options))
    pairs = [f"-o{key}={value}" for key, value in _given(options).items()]

    def command(socket: Path) -> tuple[str, ...]:
        names = [f"--model={name}" for name in models]
        module = "batch_gpu_runner.engines.sim"
        return (sys.executable, "-P", "-m", module, f"--uds={socket}", *names, *pairs)

    recipe = Recipe(
        engine="sim",
        models=models,
        command=command,
        endpoints=frozenset(ENDPOINTS),
        window=DEFAULT_WINDOW,
        load_names=VLLM,
        advice=_ADVICE,
        spared=lambda steps: (f"--spared={steps}",) if steps else (),
    )
    return ManagedEngine(recipe, settings)


def _with_absolute_paths(options: SimOptions) -> SimOptions:
    """The server is started anew in mid-work, wherever our own process stands by then."""
    paths = {"fault_file": options.fault_file, "request_log": options.request_log}
    given = {key: str(Path(path).absolute()) for key, path in paths.items() if path is not None}
    return msgspec.structs.replace(options, **given)


def _given(options: msgspec.Struct) -> dict[str, object]:
    return {k: v for k, v in msgspec.structs.asdict(options).items() if v is not None}
