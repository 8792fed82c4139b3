"""What the Dockerfiles run, run as scripts in an empty folder that stands for the image."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dockerfiles import ALL, ROOT, SLIM, stages
from support.ports import free_port
from support.shipped_nats import password

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Image:
    """A folder with an interpreter and pip of its own, in which a build stage is run."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "src"
        self.source.mkdir(parents=True)
        self.program = folder / "opt" / "vllm-batch"
        self._python = folder / "python"
        subprocess.run([sys.executable, "-m", "venv", self._python], check=True, timeout=120)

    def build(self, path: str) -> None:
        for step in stages(path)[0]:
            if step.word == "COPY":
                *sources, target = step.rest.split()
                for source in sources:
                    self._copy(ROOT / source, self.source / target)
            elif step.word == "RUN":
                self._run(step.rest)

    def install(self, package: str) -> None:
        """Something that the real base image has."""
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", package)
        subprocess.run([self._python / "bin" / "python", *pip], check=True, timeout=300)

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)

    def _run(self, script: str) -> None:
        moved = script.replace("/opt/vllm-batch", str(self.program))
        moved = moved.replace("/usr/bin/python3", str(self._python / "bin" / "python"))
        environ = {
            "PATH": f"{self._python / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.source.parent),
            **{k: v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_", "SSL_"))},
        }
        subprocess.run(
            ["/bin/sh", "-c", moved], check=True, cwd=self.source, env=environ, timeout=600
        )


@pytest.fixture(scope="module", params=["services/sinks/Dockerfile", ALL[-1]], ids=["slim", "vllm"])
def image(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Image]:
    """One for each way of installing; the slim ones differ in their extras only."""
    folder = tmp_path_factory.mktemp("image")
    built = Image(folder)
    if request.param not in SLIM:
        built.install("uv")
    built.build(request.param)
    yield built
    shutil.rmtree(folder)


def _asked(image: Image, *arguments: str | Path) -> str:
    return subprocess.run(
        arguments, check=True, capture_output=True, text=True, cwd="/", env={}, timeout=60
    ).stdout


def test_the_versions_are_those_that_are_tested_together(image: Image) -> None:
    code = (
        "from importlib.metadata import distributions as d;"
        "print(*sorted(f'{x.name.lower()}=={x.version}' for x in d()), sep='\\n')"
    )
    installed = set(_asked(image, image.program / "bin" / "python", "-c", code).split())
    pinned = {
        line.lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if not line.startswith("#")
    }
    unpinned = {each for each in installed if each.replace("_", "-") not in pinned}
    assert {re.sub("==.*", "", each) for each in unpinned} == {"vllm-batch-server"}


def test_there_is_no_installer_in_it(image: Image) -> None:
    names = {path.name for path in (image.program / "bin").iterdir()}
    assert "vllm-batch" in names
    assert not names & {"pip", "pip3", "uv", "hatchling"}


def test_the_service_starts_on_the_shipped_configuration(image: Image, tmp_path: Path) -> None:
    """As far as it gets without NATS: it says so, and leaves with 1, not with 3."""
    started = subprocess.run(
        [image.program / "bin" / "vllm-batch", "runner", "--config", ROOT / "deploy/config.yml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
        env={
            "DATA_DIR": str(tmp_path),
            "DATABASE_URL": "",
            "NATS_URL": f"nats://127.0.0.1:{free_port()}",
            "NATS_USER": "runner",
            "NATS_PASSWORD": password("runner"),
            "VLLM_BATCH_METRICS__PORT": "0",
            "VLLM_BATCH_RUNNER__ENGINE": "sim",
            "VLLM_BATCH_RUNNER__MODELS": "[sim=sim]",
        },
    )
    assert started.returncode == 1, started.stderr
    assert "NATS" in started.stderr.splitlines()[-1]
