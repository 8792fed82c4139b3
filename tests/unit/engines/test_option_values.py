"""Options of engines: what a wrong one is answered, and that a page has all there are."""

import re
from pathlib import Path

import msgspec
import pytest

from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.llamacpp import parse_server_options
from batch_gpu_runner.engines.llamacpp_server import ServerOptions
from batch_gpu_runner.engines.sim.fault_file import Ordered
from batch_gpu_runner.engines.sim.options import SimOptions, parse_sim_options

PAGE = Path(__file__).parents[3] / "docs" / "ENGINES.md"


@pytest.mark.parametrize(
    ("option", "value", "fits"),
    [
        ("requests_per_s", "abc", "a number above 0"),
        ("requests_per_s", "0", "a number above 0"),
        ("tokens_per_s", "", "a number above 0"),
        ("ttft_ms", "-1", "a number of at least 0"),
        ("fail_rate", "2", "a number from 0 to 1"),
        ("oom_above_tokens", "1.5", "a whole number of at least 1"),
    ],
)
def test_a_value_that_does_not_fit(option: str, value: str, fits: str) -> None:
    with pytest.raises(EngineOptionError) as raised:
        parse_sim_options({"request_log": "log", option: value})
    said = f"engine sim, option {option}: {value!r} does not fit; give {fits}"
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("option", "value", "fits"),
    [
        ("metrics", "ja", "true or false"),
        ("pooling", "max", "cls or last or mean"),
        ("n_gpu_layers", "-2", "a whole number of at least -1"),
    ],
)
def test_one_of_llamacpp(option: str, value: str, fits: str) -> None:
    with pytest.raises(EngineOptionError, match=f"llamacpp, option {option}: .*; give {fits}$"):
        parse_server_options({option: value})


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(EngineOptionError, match="no option 'rps'; it has requests_per_s, "):
        parse_sim_options({"rps": "1"})


def test_values_that_fit() -> None:
    assert parse_sim_options({"fail_rate": "0.5", "oom_above_tokens": "9"}) == SimOptions(
        fail_rate=0.5, oom_above_tokens=9
    )
    assert parse_server_options({"embeddings": "true", "n_threads": "1"}) == ServerOptions(
        embeddings=True, n_threads=1
    )


@pytest.mark.parametrize(
    ("heading", "kind"), [("## llamacpp", ServerOptions), ("## sim", SimOptions)]
)
def test_the_page_has_every_option(heading: str, kind: type[msgspec.Struct]) -> None:
    section = PAGE.read_text("utf-8").partition(heading + "\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    extra = set(Ordered.__struct_fields__) if kind is SimOptions else set()
    assert named == set(kind.__struct_fields__) | extra
