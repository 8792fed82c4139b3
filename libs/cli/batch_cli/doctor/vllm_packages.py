"""Which vLLM an interpreter has, without importing it."""

import subprocess
from typing import Final

import msgspec

_TIMEOUT_S: Final = 60.0
_PROBE: Final = """\
import json, re, sys
from importlib import metadata, util
named = [(d.metadata["Name"], d.version) for d in metadata.distributions()]
found = {name.lower(): version for name, version in named if name}
names = metadata.packages_distributions().get("vllm", []) if util.find_spec("vllm") else []
vllm = next((found[n.lower()] for n in names if n.lower() in found), None)
torch = found.get("torch", "")
local = re.search(r"[+]cu(\\d\\d)", torch)
runtime = next((v for n, v in found.items() if n.startswith("nvidia-cuda-runtime")), "")
major = int(local[1]) if local else int(runtime.split(".")[0]) if runtime else None
python = sys.version.split()[0]
print(json.dumps({"python": python, "vllm": vllm, "torch": torch, "cuda_major": major}))
"""


class VllmPackages(msgspec.Struct, frozen=True):
    """vllm: None where there is none. cuda_major: what torch was built for; None: for none."""

    python: str
    vllm: str | None
    torch: str
    cuda_major: int | None


def look_at_packages(interpreter: str) -> VllmPackages | None:
    """None for an interpreter that cannot be run. Blocks for up to a second."""
    try:
        probe = subprocess.run(
            [interpreter, "-c", _PROBE],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=True,
        )
        return msgspec.json.decode(probe.stdout, type=VllmPackages)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
