"""Images: linted, alike, without privileges or secrets; what they need is what gets into them."""

import fnmatch
import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.dockerfiles import ALL, ROOT, SLIM, stages, values

_HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
_SECRET = re.compile(r"password|secret|token|api_key|credential", re.IGNORECASE)


@pytest.mark.parametrize("path", ALL)
def test_hadolint_has_nothing_to_say(path: str) -> None:
    said = subprocess.run(
        [_HADOLINT, "--failure-threshold", "style", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("path", ALL)
def test_the_last_stage_has_no_tools_and_no_privileges(path: str) -> None:
    build, last = stages(path)
    assert values(build, "FROM")[0].endswith(" AS build")
    assert values(last, "USER") == ["10001:10001"]
    assert not [run for run in values(last, "RUN") if re.search(r"\b(pip|uv|apt-get)\b", run)]
    assert values(last, "COPY") == [
        "--from=build /opt/vllm-batch /opt/vllm-batch",
        "deploy/config.yml /etc/vllm-batch/config.yml",
    ]


@pytest.mark.parametrize("path", ALL)
def test_signals_reach_the_service_and_docker_asks_it_how_it_is(path: str) -> None:
    _, last = stages(path)
    [entry], [command], [health] = (
        values(last, word) for word in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
    )
    # The exec form: a shell would keep SIGTERM to itself.
    assert json.loads(entry) == ["/opt/vllm-batch/bin/vllm-batch"]
    service, *rest = json.loads(command)
    assert rest == ["--config", "/etc/vllm-batch/config.yml"]
    assert {"gpu_runner": "runner"}.get(Path(path).parent.name, Path(path).parent.name) == service
    code = json.loads(health.partition(" CMD ")[2])[2]
    compile(code, path, "exec")


@pytest.mark.parametrize("path", ALL)
def test_no_secret_gets_into_a_layer(path: str) -> None:
    steps = [step for stage in stages(path) for step in stage]
    assert not [step for step in steps if step.word in ("ARG", "ADD")]
    named = [step for step in steps if step.word in ("ENV", "LABEL") and _SECRET.search(step.rest)]
    assert named == []
    assert not [step for step in steps if step.word == "COPY" and step.rest.startswith(". ")]


@pytest.mark.parametrize("path", ALL)
def test_bases_are_of_one_version_each(path: str) -> None:
    bases = {stage[0].rest.removesuffix(" AS build") for stage in stages(path)}
    assert len(bases) == 1
    assert re.search(r":v?\d+\.\d+\.\d+", bases.pop())


def test_slim_images_share_all_but_what_is_their_own() -> None:
    """So that they share the layers, too."""
    own = {"EXPOSE", "HEALTHCHECK", "CMD"}
    # Which extras the requirements have.
    extras = re.compile(r"import tomllib;.*?\" > ")
    texts = set()
    for path in SLIM:
        steps = [step for stage in stages(path) for step in stage if step.word not in own]
        texts.add("\n".join(extras.sub("", f"{step.word} {step.rest}") for step in steps))
    assert len(texts) == 1


@pytest.mark.parametrize("path", ALL)
def test_what_is_copied_passes_the_ignore_file(path: str) -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    for copied in (copy for stage in stages(path) for copy in values(stage, "COPY")):
        if copied.startswith("--from"):
            continue
        *sources, _ = copied.split()
        for source in sources:
            assert (ROOT / source).exists()
            assert source in let_in


def test_no_secret_of_the_checkout_gets_to_the_builder() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    for secret in ("deploy/.env", "deploy/settings.env", ".git", ".env"):
        assert not [rule for rule in let_in if fnmatch.fnmatch(secret, rule)]


def test_vllm_in_the_image_is_the_one_that_is_tested() -> None:
    """The CPU build of the same release runs in the slow tier."""
    [base] = {
        stage[0].rest.removesuffix(" AS build")
        for stage in stages("services/gpu_runner/Dockerfile")
    }
    tested = (ROOT / "tests" / "support" / "vllm_environment.py").read_text("utf-8")
    assert base.removeprefix("vllm/vllm-openai:v") in tested
