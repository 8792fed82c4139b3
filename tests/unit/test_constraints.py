"""What `make` installs can be installed by every Python that the project says it runs on."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
)


def test_the_oldest_python_can_have_every_pin() -> None:
    """pip tells of such a pin in words of a conflict between packages that there is not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=") + ".0"
    too_new = []
    for name in PINS:
        try:
            wanted = distribution(name).metadata.get("Requires-Python") or ""
        except PackageNotFoundError:
            continue
        if oldest not in SpecifierSet(wanted):
            too_new.append(f"{name} wants Python {wanted}")
    assert len(PINS) > 100
    assert too_new == []
