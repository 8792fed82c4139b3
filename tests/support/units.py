"""The systemd units, as systemd reads them, and as far as a test can do what it does."""

import shlex
from pathlib import Path
from typing import Final

from support.compose_file import DEPLOY, env_file

UNITS: Final = DEPLOY / "systemd"
SERVICES: Final = tuple(sorted(UNITS.glob("*.service")))


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of `[Service]` and the other sections, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text("utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def environment(unit: Path, root: Path, instance: str = "0") -> dict[str, str]:
    """What systemd gives the process: `Environment=`, and the files of `root` over it."""
    given: dict[str, str] = {}
    for line in settings(unit).get("Environment", []):
        pairs = shlex.split(line.replace("%i", instance))
        given |= dict(pair.split("=", 1) for pair in pairs)
    for name in settings(unit).get("EnvironmentFile", []):
        path = root / name.replace("%i", instance).removeprefix("-").removeprefix("/")
        if path.exists() or not name.startswith("-"):
            given |= env_file(path.read_text("utf-8"))
    return given
