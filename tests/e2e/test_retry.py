"""`retry` from the command line: what a cancelled batch has left, to the end."""

import json
import signal
from collections.abc import Callable

import pytest
from openai import ConflictError, OpenAI
from openai.types import Batch

from support.batches import results, submit, wait
from support.command_line import vllm_batch
from support.requests import chat_line, jsonl
from support.standalone import Standalone


def test_what_a_cancelled_batch_has_left(own_system: Callable[..., Standalone]) -> None:
    """Its input file is gone by then, and the gateway is killed in between."""
    system = own_system("-o", "requests_per_s=60")
    client = OpenAI(base_url=system.url, api_key="none", max_retries=5)
    lines = [chat_line(f"r{n}", f"prompt {n}", max_tokens=4) for n in range(400)]
    batch = submit(client, jsonl(lines), metadata={"by": "test"})
    with pytest.raises(ConflictError, match="Cannot retry a batch with status"):
        client.post(f"/batches/{batch.id}/retry", cast_to=Batch)
    wait(
        client, batch.id, lambda b: b.request_counts is not None and b.request_counts.completed > 50
    )
    client.batches.cancel(batch.id)
    client.files.delete(batch.input_file_id)
    old = wait(client, batch.id)
    system.send("gateway", signal.SIGKILL)
    done = vllm_batch("retry", batch.id, "--watch", url=system.url)
    while done.returncode and "no server answers" in done.stderr:
        done = vllm_batch("retry", batch.id, "--watch", url=system.url)
    assert done.returncode == 0, done.stderr
    new = client.batches.retrieve(done.stdout.strip())
    assert new.metadata == {"by": "test", "retry_of": batch.id}
    assert new.status == "completed"
    assert old.request_counts is not None
    answered = results(client, new)
    assert len(answered) == 400 - old.request_counts.completed
    first = client.files.content(old.output_file_id or "").text.splitlines()
    assert sorted(answered + [json.loads(line)["custom_id"] for line in first]) == sorted(
        line["custom_id"] for line in lines
    )
    again = vllm_batch("retry", new.id, url=system.url)
    assert (again.returncode, "Nothing to retry: all" in again.stderr) == (1, True)
