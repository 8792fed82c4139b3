"""The client commands against a running system."""

import hashlib
import json
from pathlib import Path

import pytest
from openai import OpenAI

from batch_cli.client.api import Api
from batch_cli.client.upload import PART_BYTES, upload
from batch_common.secret import Secret
from support.command_line import vllm_batch
from support.ports import free_port
from support.requests import chat_line, jsonl
from support.standalone import Standalone


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(jsonl(chat_line(f"r{n}", f"prompt {n}", max_tokens=8) for n in range(30)))
    return path


def test_a_batch_from_submit_to_results(
    system: Standalone, requests_file: Path, tmp_path: Path
) -> None:
    submitted = vllm_batch("submit", str(requests_file), "--metadata", "by=test", url=system.url)
    assert submitted.returncode == 0, submitted.stderr
    batch_id = submitted.stdout.strip()
    watched = vllm_batch("watch", batch_id, url=system.url)
    assert watched.returncode == 0, watched.stderr
    assert f"{batch_id} completed 30/30 done, 0 failed" in watched.stdout.splitlines()[-1]
    shown = vllm_batch("show", batch_id, url=system.url).stdout
    assert "30 (30 completed, 0 failed)" in shown
    assert "metadata.by test" in shown
    assert batch_id in vllm_batch("list", url=system.url).stdout
    output = tmp_path / "results.jsonl"
    assert vllm_batch("results", batch_id, "-o", str(output), url=system.url).returncode == 0
    printed = vllm_batch("results", batch_id, url=system.url).stdout
    assert printed == output.read_text()
    assert {json.loads(line)["custom_id"] for line in printed.splitlines()} == {
        f"r{n}" for n in range(30)
    }


def test_scripts_get_json(system: Standalone, requests_file: Path) -> None:
    done = vllm_batch("submit", str(requests_file), "--json", "--watch", url=system.url)
    batch = json.loads(done.stdout)
    assert batch["object"] == "batch"
    lines = vllm_batch("watch", batch["id"], "--json", url=system.url).stdout.splitlines()
    assert json.loads(lines[-1])["status"] == "completed"
    listed = vllm_batch("list", "--json", "--limit", "1", url=system.url).stdout.splitlines()
    assert len(listed) == 1


def test_list_goes_over_pages(system: Standalone, requests_file: Path) -> None:
    client = OpenAI(base_url=system.url, api_key="none")
    file = client.files.create(file=requests_file, purpose="batch")
    for _ in range(103):
        client.batches.create(
            input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
        )
    listed = vllm_batch("list", "--json", "--limit", "102", url=system.url).stdout.splitlines()
    assert len({json.loads(line)["id"] for line in listed}) == 102


def test_a_batch_that_fails_validation_names_lines(system: Standalone, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [chat_line("a", "x"), chat_line("a", "x"), chat_line("c", "x", model="unknown")]
    path.write_bytes(jsonl(lines))
    done = vllm_batch("submit", str(path), "--watch", url=system.url)
    assert done.returncode == 1
    assert "ended as failed" in done.stderr
    assert "line 2: " in done.stderr
    assert "line 3: The provided model 'unknown'" in done.stderr


def test_cancel(own_system, tmp_path: Path) -> None:
    system = own_system("-o", "requests_per_s=5")
    path = tmp_path / "many.jsonl"
    path.write_bytes(jsonl(chat_line(f"r{n}", f"prompt {n}") for n in range(400)))
    batch_id = vllm_batch("submit", str(path), url=system.url).stdout.strip()
    assert "cancelling" in vllm_batch("cancel", batch_id, url=system.url).stdout
    watched = vllm_batch("watch", batch_id, url=system.url)
    assert watched.returncode == 1
    assert f"{batch_id} ended as cancelled" in watched.stderr


def test_a_large_file_goes_in_parts(system: Standalone, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    line = jsonl([chat_line("r0", "x" * 9_000)])
    with path.open("wb") as file:
        while file.tell() <= PART_BYTES:
            file.write(line * 100)
    sizes: list[int] = []
    api = Api(system.url, Secret(""))
    file_id = upload(api, path, sizes.append, max_single=PART_BYTES)
    assert sum(sizes) == path.stat().st_size
    digest = hashlib.sha256()
    with api.stream("GET", f"/files/{file_id}/content") as answer:
        for piece in answer.pieces():
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_no_server_is_one_clear_line() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    done = vllm_batch("list", "--url", url)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: no server answers at {url}: start one with")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_batch_is_the_servers_own_message(system: Standalone) -> None:
    for command in ("show", "watch", "cancel", "results"):
        done = vllm_batch(command, "batch_nope", url=system.url)
        assert done.returncode == 1
        assert done.stderr == "error: No batch found with id 'batch_nope'.\n"
