"""Who runs what."""

import pytest

from batch_common.config import Config, Runner
from batch_common.events import ModelState, RunnerState
from batch_common.model_spec import served_names
from batch_scheduler.fleet import Fleet, ModelFleet, by_model


def state(runner: str, status: str, *models: ModelState) -> RunnerState:
    return RunnerState(runner=runner, engine="sim", models=models, status=status)  # type: ignore[arg-type]


def model(name: str, *endpoints: str, rate: float | None = None) -> ModelState:
    return ModelState(name=name, endpoints=endpoints, requests_per_s=rate)


def test_runners_of_a_model_are_added_up() -> None:
    found = by_model(
        [
            state("r1", "ready", model("m", "/a", rate=10), model("n", "/a")),
            state("r2", "starting", model("m", "/b")),
            state("r3", "ready", model("m", "/a", rate=5)),
            state("r4", "draining", model("m", "/c", rate=99)),
        ]
    )
    assert found == {
        "m": ModelFleet(3, frozenset({"/a", "/b"}), 15),
        "n": ModelFleet(1, frozenset({"/a"}), None),
    }


def test_a_model_without_a_runner_has_none() -> None:
    assert Fleet(Config()).of("m") == ModelFleet()


@pytest.mark.parametrize(
    ("engine", "spec", "name"),
    [
        ("vllm", "org/model", "org/model"),
        ("vllm", "mine=org/model", "mine"),
        ("vllm", "/nowhere/llama-3.1", "llama-3.1"),
        ("llamacpp", "/nowhere/small.Q4.gguf", "small.Q4"),
        ("openai", "./odd", "./odd"),
        ("sim", "n=up", "n"),
    ],
)
def test_names_are_those_that_requests_use(engine: str, spec: str, name: str) -> None:
    assert served_names(Runner(engine=engine, models=(spec,))) == {name}  # type: ignore[arg-type]
