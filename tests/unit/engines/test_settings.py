"""Names, paths and options as people type them."""

from pathlib import Path

import pytest

from batch_common.config import Runner
from batch_common.secret import Secret
from batch_gpu_runner.engines.base import Endpoint, EngineOptionError
from batch_gpu_runner.engines.registry import create_engine
from batch_gpu_runner.engines.settings import (
    EngineSettings,
    ModelSpec,
    engine_settings,
    parse_model,
    parse_options,
    parse_upstream,
)


def test_a_hub_id_is_its_own_name() -> None:
    assert parse_model("org/model") == ModelSpec("org/model", "org/model")
    assert parse_model("mine=org/model") == ModelSpec("mine", "org/model")


def test_a_path_never_becomes_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    file = tmp_path / "small.Q4.gguf"
    file.touch()
    assert parse_model(str(folder)) == ModelSpec("my-model", str(folder), folder)
    assert parse_model(str(file)) == ModelSpec("small.Q4", str(file), file)
    assert parse_model(f"n={file}") == ModelSpec("n", str(file), file)


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "lr=3"
    folder.mkdir()
    assert parse_model(str(folder)).name == "lr=3"


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_model("here").path == tmp_path / "here"
    assert parse_model("./here").name == "here"


@pytest.mark.parametrize(
    "text", ["/nowhere/model", "./nowhere", "nowhere.gguf", "name=", "=org/model", "", "a\nb=x/y"]
)
def test_a_model_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(EngineOptionError, match="model"):
        parse_model(text)


def test_an_upstream_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gpt").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_upstream("gpt") == ModelSpec("gpt", "gpt")
    assert parse_upstream("ours=theirs/big") == ModelSpec("ours", "theirs/big")


def test_options_keep_their_values_verbatim() -> None:
    assert parse_options(("a=1", "b-c=x=y", "speculative-config.method=")) == {
        "a": "1",
        "b-c": "x=y",
        "speculative-config.method": "",
    }


@pytest.mark.parametrize("pair", ["plain", "=1", "--flag=1", "a b=1", "a;rm=1", "-o=1"])
def test_what_is_no_option_is_refused(pair: str) -> None:
    with pytest.raises(EngineOptionError, match="engine option"):
        parse_options((pair,))


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(EngineOptionError, match="twice"):
        parse_options(("a=1", "a=2"))


def test_the_runner_section_becomes_engine_settings(tmp_path: Path) -> None:
    runner = Runner(
        engine="openai", models=("m",), options={"a": "1"}, base_url="http://h/v1", python="/py"
    )
    settings = engine_settings(runner, tmp_path)
    assert (settings.engine, settings.models, settings.options) == ("openai", ("m",), {"a": "1"})
    assert settings.interpreter() == "/py"
    assert settings.state_dir == tmp_path


def test_an_interpreter_among_the_options_goes_first(tmp_path: Path) -> None:
    settings = EngineSettings(state_dir=tmp_path, python="/a", options={"python": "/b"})
    assert settings.interpreter() == "/b"


def test_secrets_do_not_show(tmp_path: Path) -> None:
    settings = EngineSettings(state_dir=tmp_path, api_key=Secret("sk-very"))
    endpoint = Endpoint("http://h/v1", headers={"Authorization": Secret("Bearer sk-very")})
    assert "sk-very" not in f"{settings!r} {endpoint!r}"
    assert "Authorization" in repr(endpoint)


def test_an_unknown_engine_is_refused_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(EngineOptionError, match="auto, vllm, llamacpp, openai, sim"):
        create_engine(EngineSettings(engine="vlm", state_dir=tmp_path))


def test_an_unknown_option_is_refused_with_the_choices(tmp_path: Path) -> None:
    for engine, known in (("sim", "fail_rate"), ("llamacpp", "n_ctx"), ("openai", "endpoints")):
        settings = EngineSettings(
            engine=engine, state_dir=tmp_path, options={"nope": "1"}, base_url="http://h/v1"
        )
        with pytest.raises(EngineOptionError, match=known):
            create_engine(settings)


@pytest.mark.parametrize(
    "options",
    [
        {"fail_rate": "2"},
        {"requests_per_s": "0"},
        {"crash_on": "["},
        {"oom_above_tokens": "many"},
    ],
)
def test_an_impossible_simulator_option_is_refused(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(EngineOptionError, match="engine sim, option"):
        create_engine(EngineSettings(engine="sim", state_dir=tmp_path, options=options))


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.gguf").touch()
    models = tuple(str(tmp_path / folder / "m.gguf") for folder in ("a", "b"))
    with pytest.raises(EngineOptionError, match="same name"):
        create_engine(EngineSettings(engine="llamacpp", state_dir=tmp_path, models=models))


@pytest.mark.parametrize("engine", ["openai", "sim"])
def test_two_upstream_models_of_one_name_are_refused(engine: str, tmp_path: Path) -> None:
    settings = EngineSettings(
        engine=engine, state_dir=tmp_path, models=("m=a", "m=b"), base_url="http://127.0.0.1:1/v1"
    )
    with pytest.raises(EngineOptionError, match="same name"):
        create_engine(settings)


def test_vllm_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineOptionError, match="--model"):
        create_engine(EngineSettings(engine="vllm", state_dir=tmp_path))


@pytest.mark.parametrize("address", ["", "host:8000", "ftp://host/v1", "http://", "http://h:x/v1"])
def test_openai_without_an_address_says_so(address: str, tmp_path: Path) -> None:
    with pytest.raises(EngineOptionError, match="base_url"):
        create_engine(EngineSettings(engine="openai", state_dir=tmp_path, base_url=address))


def test_a_password_in_the_address_is_refused_without_showing_it(tmp_path: Path) -> None:
    address = "http://me:hunter2@host/v1"
    with pytest.raises(EngineOptionError, match="api_key") as caught:
        create_engine(EngineSettings(engine="openai", state_dir=tmp_path, base_url=address))
    assert "hunter2" not in str(caught.value)
