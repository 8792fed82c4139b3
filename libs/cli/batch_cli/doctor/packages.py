"""The Python packages that the chosen engine and result handlers need."""

import sys
from importlib.util import find_spec
from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place
from batch_cli.doctor.vllm_packages import look_at_packages
from batch_gpu_runner.engines.llamacpp import INSTALL, has_llamacpp

CHECK: Final = "python"
# Result handlers that need more than the base installation: package, extra.
_HANDLERS: Final = {"s3": ("aioboto3", "s3")}


def look_at_python(place: Place) -> list[Finding]:
    """Blocks for up to a second."""
    found = [ok(CHECK, f"Python {sys.version.split()[0]} at {sys.executable}")]
    found += _engine(place) if place.has_runner else []
    for name in place.config.sinks.enabled:
        package, extra = _HANDLERS.get(name, ("", ""))
        if package and find_spec(package) is None:
            fix = f"pip install 'vllm-batch-server[{extra}]'"
            found.append(fail(CHECK, f"result handler {name} needs {package}", fix))
    return found


def _engine(place: Place) -> list[Finding]:
    match place.engine:
        case None:
            return [fail("engine", "no engine fits this machine", place.why_no_engine)]
        case "vllm":
            return [_vllm(place.engine_settings.interpreter())]
        case "llamacpp" if not has_llamacpp():
            return [fail("engine", "llama.cpp is not installed", INSTALL)]
        case "sim" if place.config.runner.engine == "sim":
            fix = "--engine auto, when real answers are wanted"
            return [warn("engine", "sim makes answers up", fix)]
    return [ok("engine", str(place.engine))]


def _vllm(interpreter: str) -> Finding:
    packages = look_at_packages(interpreter)
    if packages is None:
        return fail(
            "engine",
            f"the interpreter {interpreter} cannot be run",
            "-o python=… (or runner.python) must be the path of a Python that has vLLM",
        )
    if packages.vllm is None:
        return fail(
            "engine",
            f"there is no vLLM in {interpreter}",
            "pip install 'vllm-batch-server[vllm]', or name a Python that has it: -o python=…",
        )
    return ok("engine", f"vLLM {packages.vllm}, torch {packages.torch}, in {interpreter}")
