"""The parts of `run`."""

import io
import json
import random
from pathlib import Path

import pytest

from batch_cli.client.results import OutputFileError
from batch_cli.client.upload import InputFileError
from batch_cli.one_shot.job import find_job
from batch_cli.one_shot.ordered import IncompleteResultsError, write_in_order
from batch_cli.one_shot.settings import WINDOW, private
from batch_common.config import Blobs, Config, Database, Gateway, Nats
from batch_common.formats.result import result_id
from batch_common.secret import ApiKeys, Secret


def results_file(folder: Path, lines: list[int]) -> Path:
    path = folder / "results.jsonl"
    content = [
        json.dumps({"id": result_id("batch_01x", n), "body": "x" * (n % 50)}) + "\n" for n in lines
    ]
    path.write_text("".join(content))
    return path


def test_results_come_in_the_order_of_the_input(tmp_path: Path) -> None:
    lines = [n for n in range(1, 3_000) if n % 4]  # blank lines count
    shuffled = random.Random(1).sample(lines, len(lines))
    target = io.BytesIO()
    write_in_order(results_file(tmp_path, shuffled), target, len(lines))
    written = [json.loads(line)["id"] for line in target.getvalue().splitlines()]
    assert written == [result_id("batch_01x", n) for n in lines]


@pytest.mark.parametrize(("lines", "words"), [([1, 3], "2 of 3"), ([1, 2, 2], "line 2 has two")])
def test_a_request_without_a_result_or_with_two(
    tmp_path: Path, lines: list[int], words: str
) -> None:
    with pytest.raises(IncompleteResultsError, match=words):
        write_in_order(results_file(tmp_path, lines), io.BytesIO(), 3)


def test_work_is_known_by_content_and_output(tmp_path: Path) -> None:
    source, copy = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text("same")
    copy.write_text("same")
    job = find_job(source, tmp_path / "out")
    assert find_job(copy, tmp_path / "out").id == job.id
    assert find_job(source, tmp_path / "other").id != job.id
    copy.write_text("changed")
    assert find_job(copy, tmp_path / "out").id != job.id


def test_paths_that_cannot_work(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("x")
    with pytest.raises(InputFileError, match="cannot read"):
        find_job(tmp_path / "none", tmp_path / "out")
    with pytest.raises(OutputFileError, match="is the input"):
        find_job(source, source)
    with pytest.raises(OutputFileError, match="is a folder"):
        find_job(source, tmp_path)
    with pytest.raises(OutputFileError, match="does not exist"):
        find_job(source, tmp_path / "no" / "out")


def test_a_private_system_shares_nothing(tmp_path: Path) -> None:
    config = Config(
        database=Database(url=Secret("postgresql://shared")),
        blobs=Blobs(url="s3://shared"),
        nats=Nats(url=Secret("nats://shared:4222"), user="me"),
        gateway=Gateway(host="0.0.0.0", port=80, api_keys=ApiKeys({"k": "t"})),  # noqa: S104
    )
    ours = private(config, tmp_path, Secret("once"))
    assert (ours.database, ours.blobs) == (Database(), Blobs())
    assert ours.nats == Nats(url=Secret("nats://127.0.0.1:0"))
    assert (ours.gateway.host, ours.gateway.port) == ("127.0.0.1", 0)
    assert ours.gateway.api_keys == ApiKeys({"once": "default"})
    assert ours.limits.completion_windows == (WINDOW,)
    assert ours.data_dir == str(tmp_path)
