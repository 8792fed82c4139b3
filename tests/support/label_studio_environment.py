"""An environment of its own that has Label Studio.

    python tests/support/label_studio_environment.py

makes it in the checkout as `.venv-label-studio` (1 GB, a minute or two), or finds it there. A run
that was cut off is taken up again by the next one.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv-label-studio"
_PACKAGE = "label-studio==1.23.0"
_READY = FOLDER / f"ready-{_PACKAGE}"


def find_label_studio() -> Path | None:
    """Its program, which `make_label_studio` has made; None when that has not run to its end."""
    return FOLDER / "bin" / "label-studio" if _READY.exists() else None


def make_label_studio() -> Path:
    """Make what is missing. Raises SystemExit with the reason when that fails."""
    if not _READY.exists():
        _run(sys.executable, "-m", "venv", str(FOLDER))
        _run(
            str(FOLDER / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            _PACKAGE,
        )
        _READY.touch()
    return FOLDER / "bin" / "label-studio"


def _run(*command: str) -> None:
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"this failed with exit code {done.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    print(make_label_studio())
