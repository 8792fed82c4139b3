"""vLLM's own OpenAI server, started from any interpreter that has it.

Options pass through: `-o key=value` becomes `--key=value`, `true` a bare `--key` and `false`
`--no-key`. `-o python=…` names the interpreter. Hub tokens and caches are the user's environment.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from batch_gpu_runner.engines.base import ENDPOINTS, EngineOptionError
from batch_gpu_runner.engines.load_metrics import VLLM
from batch_gpu_runner.engines.managed import ManagedEngine, Recipe
from batch_gpu_runner.engines.memory_steps import STEPS
from batch_gpu_runner.engines.settings import EngineSettings, ModelSpec, check_option_name

DEFAULT_MAX_SEQUENCES = 256  # vLLM's own default for max_num_seqs on most GPUs
DEFAULT_SHARE = 0.92  # and for gpu_memory_utilization
DEFAULT_TOKENS = 2048  # and the smallest one for max_num_batched_tokens
_PROBE_TIMEOUT_S = 60.0
# Where it listens, for whom and under which names is ours to say.
_OURS = frozenset({"host", "port", "uds", "model", "served-model-name", "api-key", "root-path"})
_ADVICE = (
    "Check that the model exists (a folder, or a hub id this machine can download) and fits into "
    "memory: -o gpu_memory_utilization=…, -o max_model_len=…."
)


def vllm_engine(settings: EngineSettings, model: ModelSpec) -> ManagedEngine:
    """Raises EngineOptionError for an option that cannot pass, or an interpreter without vLLM."""
    interpreter = settings.interpreter()
    arguments = vllm_arguments(settings.options)
    if not has_vllm(interpreter):
        raise EngineOptionError(
            f"there is no vLLM in {interpreter}: install it with "
            "pip install 'vllm-batch-server[vllm]', or name an interpreter that has it with "
            "-o python=/path/to/python"
        )

    def command(socket: Path) -> tuple[str, ...]:
        return (
            *(interpreter, "-m", "vllm.entrypoints.openai.api_server"),
            f"--model={model.source}",
            f"--served-model-name={model.name}",
            f"--uds={socket}",
            "--disable-uvicorn-access-log",
            *arguments,
        )

    recipe = Recipe(
        engine="vllm",
        models=(model.name,),
        command=command,
        endpoints=frozenset(ENDPOINTS),
        ask_routes=True,
        window=vllm_window(settings.options),
        load_names=VLLM,
        advice=_ADVICE,
        spared=lambda steps: spared_memory(settings.options, steps),
    )
    return ManagedEngine(recipe, settings)


def has_vllm(interpreter: str) -> bool:
    """Whether `import vllm` would find something there. Runs the interpreter, without importing."""
    if interpreter == sys.executable:
        return find_spec("vllm") is not None
    code = "import sys, importlib.util as u; sys.exit(u.find_spec('vllm') is None)"
    try:
        probe = subprocess.run(
            [interpreter, "-c", code],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineOptionError(
            f"cannot run the interpreter {interpreter!r}: {error}; "
            "-o python=… must be the path of a Python that has vLLM"
        ) from error
    return probe.returncode == 0


def vllm_arguments(options: dict[str, str]) -> tuple[str, ...]:
    """Raises EngineOptionError for what is no option, or one that we set ourselves."""
    return tuple(_argument(key, value) for key, value in options.items() if key != "python")


def _argument(key: str, value: str) -> str:
    check_option_name(key)
    # Only the first word is an option of vLLM's; behind a dot stands a key of its JSON value.
    first, dot, rest = key.partition(".")
    name = first.replace("_", "-")
    if name in _OURS or name.startswith("ssl-"):
        raise EngineOptionError(
            f"engine option {key!r} is set by us: the engine listens on a socket of its own; "
            "leave it out (the model and its name come from --model NAME=PATH)"
        )
    match (dot, value.lower()):
        case ("", "true"):
            return f"--{name}"
        case ("", "false"):
            return f"--no-{name}"
    return f"--{name}{dot}{rest}={value}"


def vllm_window(options: dict[str, str]) -> int:
    """A quarter more than it computes at once, so that a finished sequence finds a successor."""
    return max(1, _max_sequences(options) * 5 // 4)


def spared_memory(options: dict[str, str], steps: int) -> tuple[str, ...]:
    """Later arguments win, so these go behind those of the options. None for 0 steps."""
    if not steps:
        return ()
    step = STEPS[steps]
    sequences = max(1, int(_max_sequences(options) * step.sequences))
    tokens = int(_number(options, "max-num-batched-tokens", DEFAULT_TOKENS) * step.batched_tokens)
    spared = [
        f"--gpu-memory-utilization={_share(options) * step.share:.2f}",
        f"--max-num-seqs={sequences}",
        # vLLM refuses to start with less than one token for each sequence.
        f"--max-num-batched-tokens={max(sequences, tokens)}",
    ]
    length = _number(options, "max-model-len", 0)
    if length and step.length < 1:
        spared.append(f"--max-model-len={max(1, int(length * step.length))}")
    return tuple(spared)


def _max_sequences(options: dict[str, str]) -> int:
    return _number(options, "max-num-seqs", DEFAULT_MAX_SEQUENCES)


def _number(options: dict[str, str], name: str, default: int) -> int:
    given = _option(options, name)
    return int(given) if given.isdecimal() else default


def _share(options: dict[str, str]) -> float:
    try:
        return float(_option(options, "gpu-memory-utilization"))
    except ValueError:
        return DEFAULT_SHARE


def _option(options: dict[str, str], name: str) -> str:
    return next((v for key, v in options.items() if key.replace("_", "-") == name), "")
