"""Runners that are at work, as the gateway knows them."""

import urllib.error
import urllib.request
from typing import Final

import msgspec

from batch_cli.doctor.finding import Finding, fail, ok, warn
from batch_cli.doctor.place import Place

CHECK: Final = "runner"
_WITHIN_S: Final = 5.0


class _Gpu(msgspec.Struct):
    index: int
    name: str
    health: str
    reason: str | None = None


class _Runner(msgspec.Struct):
    id: str
    status: str
    models: list[str]
    reason: str | None = None
    gpus: list[_Gpu] = []


class _Ready(msgspec.Struct):
    checks: dict[str, str]
    runners: list[_Runner]


def look_at_runners(place: Place) -> list[Finding]:
    """Nothing before anything runs. Blocks for some seconds at most."""
    if place.standalone and not place.running:
        return []
    gateway = place.config.gateway
    host = "127.0.0.1" if gateway.host in ("0.0.0.0", "::") else gateway.host  # noqa: S104 - read only
    address = f"http://{f'[{host}]' if ':' in host else host}:{gateway.port}/readyz"
    ready = _ask(address)
    if ready is None:
        says = f"no gateway answers at {address}"
        return [warn("gateway", says, "start one (vllm-batch gateway), or look at its log")]
    found = [
        fail("gateway", f"{name}: {said}", "see the gateway's log")
        for name, said in ready.checks.items()
        if said != "ok"
    ]
    if not ready.runners:
        found.append(warn(CHECK, "no runner is there", "start one: vllm-batch runner"))
    return found + [each for runner in ready.runners for each in _one(runner)]


def _one(runner: _Runner) -> list[Finding]:
    says = f"{runner.id} is {runner.status}" + (f": {runner.reason}" if runner.reason else "")
    if runner.status == "down":
        return [fail(CHECK, says, "its log says why; docs/GPU.md what helps a GPU")]
    degraded = [gpu for gpu in runner.gpus if gpu.health != "healthy"]
    if not degraded:
        return [ok(CHECK, f"{says}, with {', '.join(runner.models)}")]
    return [
        warn(CHECK, f"{says}; GPU {gpu.index} is {gpu.health}: {gpu.reason}", "see docs/GPU.md")
        for gpu in degraded
    ]


def _ask(address: str) -> _Ready | None:
    try:
        with urllib.request.urlopen(address, timeout=_WITHIN_S) as answer:  # noqa: S310 - our own
            return msgspec.json.decode(answer.read(), type=_Ready)
    except urllib.error.HTTPError as error:
        try:
            return msgspec.json.decode(error.read(), type=_Ready)
        except msgspec.MsgspecError:
            return None
    except (OSError, msgspec.MsgspecError):
        return None
