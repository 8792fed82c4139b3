"""`vllm-batch doctor` before `up`, beside it, and for what cannot work."""

import json
from pathlib import Path

from support.command_line import vllm_batch
from support.standalone import standalone


def found(*arguments: str) -> tuple[int, list[dict[str, str]]]:
    done = vllm_batch("doctor", "--json", *arguments)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_before_up_and_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    here = ("--engine", "sim", "--data-dir", str(folder), "--port", "0")
    code, before = found(*here)
    assert code == 0
    assert {"python", "gpu", "disk", "port", "nats", "database"} <= {b["check"] for b in before}
    assert not folder.exists(), "nothing is changed"
    with standalone(folder, "--model", "sim=sim"):
        code, beside = found(*here)
        other, asked = found("--data-dir", str(folder), "--engine=vllm", "--model=/no/such/model")
    assert other == 1, "exit code 0 would say that the model is fine"
    assert [line["check"] for line in asked if "/no/such/model" in line["says"]] == ["model"]
    assert code == 0
    said = {line["check"]: line["says"] for line in beside}
    assert "vllm-batch up runs" in said["port"]
    assert "is ready, with sim" in said["runner"]
    assert "this release's schema" in said["database"]


def test_what_cannot_work_is_a_failure_with_a_fix(tmp_path: Path) -> None:
    done = vllm_batch(
        *("doctor", "--engine", "vllm", "--model", "/no/such/model", "--data-dir", str(tmp_path))
    )
    assert done.returncode == 1
    assert "fail  model" in done.stdout
    assert "does not exist" in done.stdout
    assert "fix: " in done.stdout
    assert "failed" in done.stderr


def test_a_configuration_needs_its_servers(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "nats: {url: 'nats://127.0.0.1:9'}\n"
        f"data_dir: {tmp_path}\n"
        "runner: {engine: sim}\n"
        "gateway: {port: 9}\n"
    )
    code, lines = found("--config", str(config))
    assert code == 1
    assert [line["check"] for line in lines if line["status"] == "fail"] == ["nats"]
    _, without = found("--config", str(config), "--no-runner")
    assert {line["check"] for line in lines} - {line["check"] for line in without} == {
        "engine",
        "gpu",
    }


def test_a_configuration_that_is_wrong_is_said_as_everywhere(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("runner: {gpu: {degraded_memory: 2}}\n")
    done = vllm_batch("doctor", "--config", str(config))
    assert done.returncode == 3
    assert "degraded_memory must be below critical_memory" in done.stderr
