"""One engine of each kind that a machine without a GPU can run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.engines.sim.server import serve_sim
from support.engines import MakeEngine, engine_maker


@pytest.fixture
def make_engine(tmp_path: Path) -> MakeEngine:
    """Engines whose files lie in the test's folder."""
    return engine_maker(tmp_path / "engine")


@pytest.fixture(params=["sim", "llamacpp", "openai"])
async def engine(request: pytest.FixtureRequest, make_engine: MakeEngine) -> AsyncIterator[Engine]:
    """A started engine of each kind."""
    async with serve_sim() as url:
        made = make_engine(request.param, base_url=f"{url}/v1")
        await made.start()
        yield made
        await made.stop()


@pytest.fixture(params=["sim", "llamacpp"])
async def managed(request: pytest.FixtureRequest, make_engine: MakeEngine) -> AsyncIterator[Engine]:
    """A started engine of each kind that runs as our child."""
    made = make_engine(request.param)
    await made.start()
    yield made
    await made.stop()
