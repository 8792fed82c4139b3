"""The figures of docs/DEPLOYMENT.md are what its formulas give, its names those that there are."""

import re

from batch_cli.doctor.memory import _OVERHEAD, GIB
from batch_gpu_runner.engines.vllm import DEFAULT_SHARE
from support.compose_file import read
from support.dockerfiles import ROOT
from support.units import UNITS

_PAGE = (ROOT / "docs" / "DEPLOYMENT.md").read_text("utf-8")


def _rows(head: str) -> dict[str, list[str]]:
    """The rows of the table that begins so, by their first cell."""
    lines = _PAGE[_PAGE.index(head) :].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def _memory(size: str) -> tuple[float, int]:
    """GiB of one GPU, and how many there are."""
    found = re.fullmatch(r"(?:(\d) x )?(\d+) GiB", size)
    assert found is not None, size
    return float(found[2]), int(found[1] or 1)


def test_weights_and_cache_of_each_model() -> None:
    models = _rows("| model | parameters")
    assert len(models) == 9
    for name, (billions, each, layers, heads, size, weights, cache) in models.items():
        assert f"{float(billions) * 1e9 * float(each) / GIB:.1f}" == weights, name
        assert 2 * int(layers) * int(heads) * int(size) * 2 == int(cache) * 1024, name


def test_tokens_on_each_gpu() -> None:
    models = _rows("| model | parameters")
    head = "| model | 12 GiB"
    sizes = [
        _memory(cell.strip()) for cell in _PAGE[_PAGE.index(head) :].split("\n")[0].split("|")[2:-1]
    ]
    table = _rows(head)
    del table["for example"]
    assert list(table) == list(models)
    for name, (billions, each, *_, cache) in models.items():
        weights = float(billions) * 1e9 * float(each)
        for (memory, gpus), said in zip(sizes, table[name], strict=True):
            left = gpus * (DEFAULT_SHARE * memory * GIB - weights / gpus - _OVERHEAD)
            tokens = left / (int(cache) * 1024)
            assert said == (f"{tokens / 1000:.0f}k" if tokens > 0 else "no"), (name, memory)


def test_ports_are_those_of_what_is_shipped() -> None:
    said = set(re.findall(r"\d{4}", " ".join(_rows("| port | who"))))
    published = {
        port.rpartition(":")[2]
        for spec in read("compose.yaml")["services"].values()
        for port in spec.get("ports", [])
    }
    nats = "".join(
        (ROOT / "deploy/nats" / f"{name}.conf").read_text() for name in ("nats-server", "cluster")
    )
    listening = set(re.findall(r"^\s*(?:listen|http): \S+:(\d+)", nats, re.MULTILINE))
    metrics = {
        port
        for unit in UNITS.glob("*.service")
        for port in re.findall(r"METRICS__PORT=(\d{4})\b", unit.read_text("utf-8"))
    }
    assert published | listening | metrics <= said


def test_metrics_and_settings_that_it_names_are_there() -> None:
    metrics = (ROOT / "docs" / "METRICS.md").read_text("utf-8")
    named = set(re.findall(r"vllm_batch[_:]\w+", _PAGE))
    assert named
    assert [name for name in named if f"`{name}`" not in metrics] == []
    settings = (ROOT / "docs" / "CONFIGURATION.md").read_text("utf-8")
    for setting in re.findall(
        r"`((?:database|gateway|runner|nats|result_handlers)\.[a-z_.]+)`", _PAGE
    ):
        assert setting.rpartition(".")[2] in settings, setting


def test_every_file_of_deploy_is_spoken_of() -> None:
    spoken = _PAGE + "".join(
        path.read_text("utf-8")
        for path in (ROOT / "deploy").rglob("*")
        if path.suffix in (".sh", ".yaml")
    )
    for path in (ROOT / "deploy").rglob("*"):
        if path.is_file() and path.name not in (".env", "settings.env"):
            assert path.name in spoken or path.stem in spoken or path.suffix in spoken, path
