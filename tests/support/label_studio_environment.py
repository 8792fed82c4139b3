"""An environment of its own that has Label Studio, and a database with its tables.

    python tests/support/label_studio_environment.py

makes both in the checkout, as `.venv-label-studio` (1 GB, a minute or two), or finds them there. A
run that was cut off is taken up again by the next one.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parents[2] / ".venv-label-studio"
_PROGRAM = FOLDER / "bin" / "label-studio"
_PACKAGE = "label-studio==1.23.0"
_READY = FOLDER / f"ready-{_PACKAGE}"
# Making them takes Label Studio longer than all the rest of its first start.
_TABLES = FOLDER / f"tables-{_PACKAGE}"


class LabelStudioSetup(msgspec.Struct, frozen=True):
    """tables: a data folder to copy, in which nobody has worked yet"""

    program: Path
    tables: Path


def find_label_studio() -> LabelStudioSetup | None:
    """What `make_label_studio` has made; None when it has not run to its end."""
    if _READY.exists() and _TABLES.is_dir():
        return LabelStudioSetup(_PROGRAM, _TABLES)
    return None


def make_label_studio() -> LabelStudioSetup:
    """Make what is missing. Raises SystemExit with the reason when that fails."""
    if not _READY.exists():
        pip = (str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-compile")
        _run(sys.executable, "-m", "venv", str(FOLDER))
        _run(*pip, _PACKAGE)
        _READY.touch()
    if not _TABLES.is_dir():
        half = FOLDER / "half-made"
        shutil.rmtree(half, ignore_errors=True)
        _run(str(_PROGRAM), "version", environment=environment(half))
        half.rename(_TABLES)
    return LabelStudioSetup(_PROGRAM, _TABLES)


def environment(data: Path) -> dict[str, str]:
    """For a Label Studio that works in that folder, and that tells nobody about it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(data),
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
    }


def _run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode:
        raise SystemExit(f"this failed with exit code {done.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    print(make_label_studio())
