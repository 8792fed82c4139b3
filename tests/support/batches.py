"""Batches through the `openai` client."""

import time
from collections.abc import Callable

from openai import OpenAI
from openai.types import Batch

from support.requests import CHAT, custom_ids

TERMINAL = {"completed", "failed", "expired", "cancelled"}


def submit(client: OpenAI, data: bytes, **options: object) -> Batch:
    """Uploads `data` and creates a batch of chats over it."""
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint=CHAT,
        completion_window="24h",
        **options,  # type: ignore[arg-type]
    )


def wait(
    client: OpenAI,
    batch_id: str,
    until: Callable[[Batch], bool] = lambda batch: batch.status in TERMINAL,
    within_s: float = 60,
) -> Batch:
    """Polls until `until` holds (a terminal status by default)."""
    deadline = time.monotonic() + within_s
    while True:
        batch = client.batches.retrieve(batch_id)
        if until(batch):
            return batch
        if time.monotonic() > deadline:
            raise AssertionError(f"{batch_id} after {within_s} s: {batch}")
        time.sleep(0.05)


def content(client: OpenAI, file_id: str | None) -> bytes:
    """A result file's bytes; none for no file."""
    return client.files.content(file_id).content if file_id else b""


def results(client: OpenAI, batch: Batch) -> list[str]:
    """The custom ids of output and error file together."""
    return custom_ids(content(client, batch.output_file_id)) + custom_ids(
        content(client, batch.error_file_id)
    )
