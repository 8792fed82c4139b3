"""Making engines for tests."""

from collections.abc import Callable
from pathlib import Path

from batch_common.secret import Secret
from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import EngineSettings

MakeEngine = Callable[..., Engine]


def engine_maker(state_dir: Path) -> MakeEngine:
    """`make("sim", "model-name", option="value")`: an engine that is not started yet."""

    def make(engine: str, *models: str, base_url: str = "", **options: str) -> Engine:
        return create_engine(
            EngineSettings(
                engine=engine,
                models=models,
                options=options,
                state_dir=state_dir,
                base_url=base_url,
                api_key=Secret("sk-test"),
                start_timeout_s=60.0,
                stop_grace_s=2.0,
            )
        )

    return make
