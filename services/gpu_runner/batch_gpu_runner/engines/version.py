"""Which release of an engine this is: what is learned about one need not hold for the next."""

import subprocess
import sys
from importlib import metadata
from typing import Final

from batch_gpu_runner.engines.settings import EngineSettings

UNKNOWN: Final = "unknown"
_PROBE_TIMEOUT_S: Final = 60.0
_PACKAGES: Final = {"llamacpp": "xllamacpp", "sim": "vllm-batch-server"}
# vLLM comes under several names; importing it would take ten seconds.
_PROBE: Final = (
    "import importlib.metadata as m\n"
    "print(next(d.version for d in m.distributions(name='vllm')), end='')\n"
)
_SEARCH: Final = (
    "import importlib.metadata as m\n"
    "print(m.version(m.packages_distributions()['vllm'][0]), end='')\n"
)


def engine_version(settings: EngineSettings) -> str:
    """UNKNOWN where it does not say. Not for `auto`. Blocks for up to a second."""
    if settings.engine == "vllm":
        return (
            _probe(settings.interpreter(), _PROBE)
            or _probe(settings.interpreter(), _SEARCH)
            or UNKNOWN
        )
    try:
        return metadata.version(_PACKAGES[settings.engine])
    except (KeyError, metadata.PackageNotFoundError):
        return UNKNOWN


def _probe(interpreter: str, code: str) -> str:
    try:
        probe = subprocess.run(
            [interpreter or sys.executable, "-c", code],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return probe.stdout.strip() if probe.returncode == 0 else ""
