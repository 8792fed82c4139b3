"""The compose files: of the schema, complete, and each service with what it needs and no more."""

import json
import re
import stat
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from batch_common.config import Config
from batch_common.config_file import load_config
from support.compose_file import DEPLOY, REFERENCE, put_in, read
from support.dockerfiles import ROOT, stages, values

BOTH = pytest.mark.parametrize(
    "names", [("compose.yaml",), ("compose.yaml", "compose.cpu.yaml")], ids=["gpu", "cpu"]
)
OURS = ("gateway", "scheduler", "runner", "sinks")
PROFILES = {
    "monitoring": {"prometheus", "grafana"},
    "curation": {"label-studio"},
    "s3": {"s3"},
}


def environment(service: str, variables: dict[str, str]) -> dict[str, str]:
    """What a container has: its image's, and the compose file's over it."""
    spec = put_in(read("compose.yaml")["services"][service], variables)
    image = {
        name: value.strip('"')
        for step in values(stages(spec["build"]["dockerfile"])[1], "ENV")
        for name, value in re.findall(r"(\w+)=(\S+)", step)
    }
    return image | spec["environment"]


def config_of(service: str, variables: dict[str, str]) -> Config:
    return load_config(DEPLOY / "config.yml", environment(service, variables))


@BOTH
def test_it_is_of_the_compose_schema(names: tuple[str, ...], variables: dict[str, str]) -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = jsonschema_rs.validator_for(json.loads(vendored.read_text("utf-8")))
    for tree in (read(*names), put_in(read(*names), variables)):
        schema.validate(tree)


@BOTH
def test_the_core_is_what_starts_without_a_profile(names: tuple[str, ...]) -> None:
    services = read(*names)["services"]
    core = {name for name, spec in services.items() if "profiles" not in spec}
    assert core == {"nats", "postgres", *OURS}
    for profile, expected in PROFILES.items():
        assert {n for n, spec in services.items() if spec.get("profiles") == [profile]} == expected


def test_every_variable_is_explained_in_the_example() -> None:
    text = "".join(
        (DEPLOY / name).read_text("utf-8") for name in ("compose.yaml", "compose.cpu.yaml")
    )
    used = {found[1] for found in REFERENCE.finditer(text)}
    example = (DEPLOY / ".env.example").read_text("utf-8")
    named = set(re.findall(r"^(?:# )?(?!VLLM_BATCH)([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))
    assert named - {"COMPOSE_PROFILES"} == used
    assert text.count("${") == len(REFERENCE.findall(text)), "a form of ${…} that the tests lack"


def test_required_are_the_secrets_of_the_core() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    required = {found[1] for found in REFERENCE.finditer(text) if found[2] == "?"}
    nats = {f"NATS_{who}_PASSWORD" for who in (*map(str.upper, OURS), "LISTENER", "OPERATOR")}
    assert required == {"MODEL", "API_KEYS", "POSTGRES_PASSWORD", *nats}
    with pytest.raises(KeyError, match="run new-env"):
        put_in(read("compose.yaml"), {"MODEL": "m"})


def test_new_secrets_are_secret_and_different(made_env: Path, variables: dict[str, str]) -> None:
    assert stat.S_IMODE(made_env.stat().st_mode) == 0o600
    secrets = [
        value for name, value in variables.items() if name not in ("MODEL", "LABEL_STUDIO_USER")
    ]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) >= 26 for secret in secrets)
    again = subprocess.run(
        ["/bin/sh", made_env.with_name("new-env.sh")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert again.returncode == 1
    assert "is there already" in again.stderr


@pytest.mark.parametrize("service", OURS)
def test_each_service_understands_its_environment(service: str, variables: dict[str, str]) -> None:
    config = config_of(service, variables)
    assert config.nats.user == service
    assert config.nats.password.reveal() == variables[f"NATS_{service.upper()}_PASSWORD"]
    assert config.nats.url.reveal() == "nats://nats:4222"
    assert config.metrics.port == 9464
    assert config.data_dir == "/var/lib/vllm-batch"


def test_each_service_has_its_own_secrets_only(variables: dict[str, str]) -> None:
    for service in OURS:
        given = json.dumps(environment(service, variables))
        others = {f"NATS_{who.upper()}_PASSWORD" for who in OURS if who != service}
        assert not [name for name in others if variables[name] in given]
        assert (variables["POSTGRES_PASSWORD"] in given) == (service != "runner")
        assert (variables["API_KEYS"] in put_in(environment(service, variables), {}).values()) == (
            service == "gateway"
        )


def test_the_runner_runs_the_model_that_is_named(variables: dict[str, str]) -> None:
    config = config_of(
        "runner", {**variables, "MODEL": "small=/models/a.gguf", "ENGINE": "llamacpp"}
    )
    assert config.runner.models == ("small=/models/a.gguf",)
    assert config.runner.engine == "llamacpp"
    assert config_of("runner", variables).runner.engine == "vllm"
    assert config_of("runner", variables).runner.python == "/usr/bin/python3"


def test_the_runner_has_its_gpu_and_without_one_it_asks_for_none(variables: dict[str, str]) -> None:
    runner = put_in(read("compose.yaml")["services"]["runner"], variables | {"GPU": "3"})
    [device] = runner["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "device_ids": ["3"], "capabilities": ["gpu"]}
    cpu = put_in(read("compose.yaml", "compose.cpu.yaml")["services"]["runner"], variables)
    assert "deploy" not in cpu
    assert cpu["environment"]["VLLM_BATCH_RUNNER__ENGINE"] == "sim"
    assert (ROOT / cpu["build"]["dockerfile"]).exists()


def test_the_s3_profile_is_wired_to_the_services(variables: dict[str, str]) -> None:
    given = {**variables, "BLOBS_URL": "s3://vllm-batch/production"}
    server = put_in(read("compose.yaml")["services"]["s3"], given)["environment"]
    for service in OURS:
        blobs = config_of(service, given).blobs
        options = {name: value.reveal() for name, value in blobs.options.items()}
        assert blobs.url == "s3://vllm-batch/production"
        assert options["endpoint"] == "http://s3:3900"
        assert options["access_key_id"] == server["GARAGE_DEFAULT_ACCESS_KEY"]
        assert options["secret_access_key"] == server["GARAGE_DEFAULT_SECRET_KEY"]
    assert server["GARAGE_DEFAULT_BUCKET"] == "vllm-batch"
    assert re.fullmatch(r"GK[0-9a-f]{24}", server["GARAGE_DEFAULT_ACCESS_KEY"])


def test_the_curation_profile_is_wired_to_the_sinks(variables: dict[str, str]) -> None:
    given = {**variables, "RESULT_HANDLERS": "[label_studio]"}
    for service in ("gateway", "scheduler", "sinks"):
        assert config_of(service, given).sinks.enabled == ("label_studio",)
    sinks = environment("sinks", given)
    studio = put_in(read("compose.yaml")["services"]["label-studio"], given)["environment"]
    assert sinks["LABEL_STUDIO_API_KEY"] == studio["LABEL_STUDIO_USER_TOKEN"]
    assert len(studio["LABEL_STUDIO_USER_TOKEN"]) <= 40
    assert sinks["LABEL_STUDIO_URL"] == "http://label-studio:8080"


def _source(mount: str) -> str:
    return put_in(mount, {}).split(":")[0]


@BOTH
def test_what_is_mounted_is_there(names: tuple[str, ...]) -> None:
    tree = read(*names)
    for spec in tree["services"].values():
        for mount in spec.get("volumes", []):
            source = _source(mount)
            if source.startswith("."):
                assert (DEPLOY / source).exists(), mount
                assert mount.endswith(":ro")
            else:
                assert source in tree["volumes"], mount


@BOTH
def test_every_service_is_held_in(names: tuple[str, ...], variables: dict[str, str]) -> None:
    services: dict[str, Any] = put_in(read(*names)["services"], variables)
    for name, spec in services.items():
        assert spec["cap_drop"] == ["ALL"]
        assert spec["security_opt"] == ["no-new-privileges:true"]
        assert spec["init"] is True
        assert spec["read_only"] is (name != "label-studio")
        assert "privileged" not in spec
        for port in spec.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to everybody"


@BOTH
def test_everybody_is_asked_how_he_is_and_waited_for(names: tuple[str, ...]) -> None:
    services = read(*names)["services"]
    for name, spec in services.items():
        assert "healthcheck" in spec or name in OURS  # those have it in their images
        for other, how in spec.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy"
            assert how.get("required", True) is (
                "profiles" not in services[other] or "profiles" in spec
            )


@pytest.mark.parametrize("service", OURS)
def test_there_is_time_to_drain(service: str, variables: dict[str, str]) -> None:
    config = config_of(service, variables)
    grace_s = int(read("compose.yaml")["services"][service]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= max(config.gateway.drain_s, config.runner.drain_s) + 10


def test_prometheus_finds_the_services_by_these_names(variables: dict[str, str]) -> None:
    [scrape] = read("../monitoring/prometheus.compose.yml")["scrape_configs"]
    [found] = scrape["dns_sd_configs"]
    assert set(found["names"]) == set(OURS)
    assert {config_of(service, variables).metrics.port for service in OURS} == {found["port"]}
