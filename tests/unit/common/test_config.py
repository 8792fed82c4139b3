"""The configuration: file, environment, interpolation, and errors that say where."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from batch_common.config import Config
from batch_common.config_file import data_dir, dump_config, load_config, parse_config
from batch_common.errors import ConfigError
from batch_common.secret import ApiKeys, Secret


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None, **over: Any) -> Config:
    path = tmp_path / "config.yml"
    path.write_text(text, "utf-8")
    return load_config(path, environ or {}, over)


def refusal(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, environ)
    return str(raised.value)


def test_nothing_set_is_the_default() -> None:
    assert load_config(None, {}) == Config()


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == Config()


def test_a_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "models: [a/b]\nscheduler: {poll_s: 2}\ngateway:\n  port: 9\n  api_keys: {k: tenant}\n",
    )
    assert config.models == ("a/b",)
    assert config.scheduler.poll_s == 2.0
    assert config.gateway.api_keys.tenant_of("k") == "tenant"


def test_the_environment_is_over_the_file_and_overrides_are_over_both(tmp_path: Path) -> None:
    environ = {
        "VLLM_BATCH_GATEWAY__PORT": "2",
        "VLLM_BATCH_GATEWAY__HOST": "localhost",
        "VLLM_BATCH_MODELS": "[a, b]",
        "VLLM_BATCH_DATA_DIR": "/data",
        "VLLM_BATCH_RESULT_HANDLERS__WEBHOOK": "{url: 'https://example.com'}",
    }
    config = load(tmp_path, "gateway: {port: 1, drain_s: 7}", environ, gateway={"port": 3})
    assert (config.gateway.port, config.gateway.host, config.gateway.drain_s) == (3, "localhost", 7)
    assert (config.models, config.data_dir) == (("a", "b"), "/data")
    assert config.sinks.webhook.url == "https://example.com"


def test_variables_reach_settings_at_any_depth(tmp_path: Path) -> None:
    environ = {
        "VLLM_BATCH_RESULT_HANDLERS__WEBHOOK__URL": "https://example.com/hook",
        "VLLM_BATCH_RESULT_HANDLERS__WEBHOOK": "{url: overridden, timeout_s: 3}",
        "VLLM_BATCH_RESULT_HANDLERS__CUSTOM__CSV__OPTIONS__FOLDER": "/srv/answers",
        "VLLM_BATCH_RUNNER__OPTIONS__MAX_MODEL_LEN": "8192",
        "VLLM_BATCH_RUNNER__OPTIONS__ENFORCE_EAGER": "true",
    }
    written = "result_handlers: {webhook: {secret: s, url: u}, custom: {csv: {handler: 'a:B'}}}"
    config = load(tmp_path, written, environ)
    webhook, csv = config.sinks.webhook, config.sinks.custom["csv"]
    assert (webhook.url, webhook.timeout_s) == ("https://example.com/hook", 3)
    assert webhook.secret.reveal() == "s"
    assert (csv.handler, csv.options.reveal()) == ("a:B", {"folder": "/srv/answers"})
    assert config.runner.options == {"max_model_len": "8192", "enforce_eager": "true"}


def test_a_variable_below_one_that_has_no_keys_is_refused() -> None:
    environ = {"VLLM_BATCH_GATEWAY": "5", "VLLM_BATCH_GATEWAY__PORT": "1"}
    with pytest.raises(ConfigError, match=r"VLLM_BATCH_GATEWAY__PORT is a key of gateway"):
        load_config(None, environ)


def test_an_api_key_is_not_taken_from_the_name_of_a_variable() -> None:
    """Its capitals would be lost, and the key that its owner has would be refused."""
    with pytest.raises(ConfigError, match="as one mapping") as raised:
        load_config(None, {"VLLM_BATCH_GATEWAY__API_KEYS__SK_HIDDEN": "acme"})
    assert "hidden" not in str(raised.value).lower()


def test_other_variables_with_our_prefix_are_no_settings() -> None:
    assert load_config(None, {"VLLM_BATCH_PARENT_PID": "7"}) == Config()


def test_references(tmp_path: Path) -> None:
    text = """
    nats: {url: "nats://${HOST}:${PORT:-4222}", password: "${PASSWORD:-}"}
    runner: {options: {a: "${X}${Y:-y}", "${X}": b}, models: ["${X}"]}
    """
    config = load(tmp_path, text, {"HOST": "h", "X": "x"})
    assert config.nats.url.reveal() == "nats://h:4222"
    assert not config.nats.password
    assert config.runner.options == {"a": "xy", "x": "b"}
    assert config.runner.models == ("x",)


def test_a_reference_to_nothing_names_the_variable(tmp_path: Path) -> None:
    said = refusal(tmp_path, "nats: {password: '${NATS_PASSWORD}'}")
    assert "config.yml" in said
    assert "${NATS_PASSWORD}" in said
    assert "set it" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gatway: {}", "gatway: unknown key; did you mean gateway?"),
        ("gateway: {prot: 1}", "gateway.prot: unknown key; did you mean port?"),
        ("limits: {zzz: 1}", "limits.zzz: unknown key; docs/"),
        ("runner: {gpu: {degraded_memry: 1}}", "runner.gpu.degraded_memry: unknown key; did you"),
        ("result_handlers: {custom: {a: {handlr: b}}}", "handlr: unknown key"),
        ("gateway: {port: 70000}", "$.gateway.port"),
        ("gateway: {port: many}", "$.gateway.port"),
        ("scheduler: {poll_s: 0}", "$.scheduler.poll_s"),
        ("runner: {engine: cuda}", "$.runner.engine"),
        ("runner: {claim_s: 20}", "runner.claim_s"),
        ("gateway: {host: 0.0.0.0}", "gateway.api_keys"),
        ("gateway: {api_keys: {k: ''}}", "tenant"),
        ("gateway: {api_keys: [k]}", "mapping"),
        ("nats: {password: [a]}", "expected text"),
        ("result_handlers: {enabled: [webhook, webhook]}", "twice"),
        ("- a\n", "mapping of sections"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(tmp_path, text)
    assert said in message
    assert "config.yml" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.yml.*--config"):
        load_config(tmp_path / "none.yml", {})


def test_a_folder_or_bytes_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00bad")
    for path in (tmp_path, tmp_path / "bytes.yml"):
        with pytest.raises(ConfigError, match=str(path)):
            load_config(path, {})


def test_a_variable_for_an_unknown_setting_is_refused() -> None:
    for name in ("VLLM_BATCH_GATEWAY__PROT", "VLLM_BATCH_GATWAY__PORT"):
        with pytest.raises(ConfigError, match=r"prot|gatway"):
            load_config(None, {name: "1"})


def test_a_section_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    assert "$.gateway" in refusal(tmp_path, "gateway: 5")


FULL = {
    "data_dir": "/data",
    "models": ["a/b", "c"],
    "database": {"url": "postgresql://user:pg-password@host/db"},
    "nats": {"url": "nats://token@host", "user": "u", "password": "nats-password"},
    "blobs": {"url": "s3://b/p", "options": {"secret_access_key": "s3-password"}},
    "gateway": {"host": "0.0.0.0", "api_keys": {"sk-key-1": "tenant-1"}},  # noqa: S104
    "runner": {"api_key": "runner-key", "models": ["M=/path"], "options": {"x": "1"}},
    "result_handlers": {
        "enabled": ["webhook", "mine"],
        "webhook": {"url": "https://h", "secret": "whsec_hidden"},
        "custom": {
            "mine": {"handler": "mine:Mine", "options": {"token": "option-password", "n": [1]}}
        },
    },
}
SECRETS = (
    "pg-password",
    "token@",
    "nats-password",
    "s3-password",
    "sk-key-1",
    "runner-key",
    "whsec_hidden",
    "option-password",
)


def test_what_is_dumped_loads_equal(tmp_path: Path) -> None:
    config = parse_config(FULL, "here")
    text = dump_config(config)
    assert load(tmp_path, text) == config
    assert all(secret in text for secret in SECRETS)
    assert load(tmp_path, dump_config(Config())) == Config()


def test_a_dumped_dollar_is_no_reference(tmp_path: Path) -> None:
    """Passwords may hold `${…}`; a supervisor hands its services a dumped configuration."""
    config = msgspec.structs.replace(
        Config(),
        nats=msgspec.structs.replace(Config().nats, password=Secret("$${a${HOME}b$c${")),
    )
    assert load(tmp_path, dump_config(config), {"HOME": "/root"}) == config


def test_secrets_stay_out_of_sight() -> None:
    config = parse_config(FULL, "here")
    for shown in (repr(config), str(config), f"{config}", repr(config.gateway.api_keys)):
        assert not [secret for secret in SECRETS if secret in shown]
    assert repr(Secret("x")) == str(Secret("x")) == "Secret(***)"
    assert repr(Secret("")) == "Secret()"


def test_secrets_stay_out_of_errors() -> None:
    for section, key in (("nats", "password"), ("runner", "api_key"), ("database", "url")):
        tree = {section: {key: ["hidden-text"]}}
        with pytest.raises(ConfigError) as raised:
            parse_config(tree, "here")
        assert "hidden-text" not in str(raised.value)
        assert f"$.{section}.{key}" in str(raised.value)


def test_secrets_stay_out_of_yaml_errors(tmp_path: Path) -> None:
    """YAML's own messages quote the line they stumble over."""
    said = refusal(tmp_path, "nats:\n  password: @hidden-text\n")
    assert "line 2, column 13" in said
    assert "hidden-text" not in said
    with pytest.raises(ConfigError, match=r"VLLM_BATCH_NATS__PASSWORD.*quotes") as raised:
        load_config(None, {"VLLM_BATCH_NATS__PASSWORD": "*hidden-text ["})
    assert "hidden-text" not in str(raised.value)


def test_secrets_are_not_encoded_by_accident() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode(Config())


def test_numbers_may_be_secrets(tmp_path: Path) -> None:
    assert load(tmp_path, "nats: {password: 12345}").nats.password == Secret("12345")


def test_keys_are_found_by_digest() -> None:
    keys = ApiKeys({"a": "one", "b": "two"})
    assert (keys.tenant_of("a"), keys.tenant_of("c"), bool(ApiKeys({}))) == ("one", None, False)
    assert "a" not in repr(keys).replace("ApiKeys", "")


def test_the_data_folder_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_dir(Config(data_dir="here")) == tmp_path / "here"
    assert data_dir(Config(data_dir="~/x")).is_absolute()
    assert data_dir(Config()).is_absolute()


def test_a_dump_is_plain_yaml() -> None:
    assert isinstance(yaml.safe_load(dump_config(parse_config(FULL, "here"))), dict)
