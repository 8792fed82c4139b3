"""What the scripts of `deploy` make, in folders of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.compose_file import DEPLOY, env_file


@pytest.fixture(scope="session")
def made_env(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .env that new-env.sh makes."""
    folder = tmp_path_factory.mktemp("deploy")
    for name in (".env.example", "new-env.sh"):
        shutil.copy(DEPLOY / name, folder)
    subprocess.run(["/bin/sh", folder / "new-env.sh"], check=True, cwd="/", timeout=30)
    return folder / ".env"


@pytest.fixture(scope="session")
def variables(made_env: Path) -> dict[str, str]:
    return env_file(made_env.read_text("utf-8"))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The root that systemd/install.sh fills."""
    root = tmp_path / "root"
    subprocess.run(
        ["/bin/sh", DEPLOY / "systemd" / "install.sh"],
        check=True,
        cwd="/",
        env={**os.environ, "DESTDIR": str(root)},
        timeout=30,
    )
    return root
