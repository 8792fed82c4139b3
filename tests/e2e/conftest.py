"""The whole system as processes: one shared by tests that do it no harm, others for the rest."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from support.deployment import Deployment
from support.standalone import Standalone, start

MODEL = ("--model", "sim=sim")


@pytest.fixture(scope="session")
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standalone | Deployment]:
    """A system on the simulated engine, shared: `up`, unless a test asks for the deployment."""
    folder = tmp_path_factory.mktemp("system") / "data"
    if getattr(request, "param", "up") == "up":
        started: Standalone | Deployment = start(folder, MODEL)
    else:
        started = Deployment(folder)
        started.start()
    yield started
    assert started.stop() == 0


@pytest.fixture
def client(system: Standalone | Deployment) -> OpenAI:
    return OpenAI(base_url=system.url, api_key=system.api_key)


@pytest.fixture
def own_system(tmp_path: Path) -> Iterator[Callable[..., Standalone]]:
    """Starts systems of the test's own: `own_system("-o", "requests_per_s=50")`."""
    running: list[Standalone] = []

    def start_one(*arguments: str, folder: str = "data") -> Standalone:
        running.append(start(tmp_path / folder, (*MODEL, *arguments)))
        return running[-1]

    yield start_one
    for one in running:
        one.stop()
