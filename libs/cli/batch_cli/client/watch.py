"""The work of `watch`, and what `submit --watch` and `run` share with it."""

import argparse
import sys
from typing import Any

from batch_cli.client.api import Api, connected
from batch_cli.client.batch import Batch, error_lines, read_batch
from batch_cli.client.display import Display, choose_display
from batch_cli.client.errors import BatchEndedError
from batch_cli.client.follow import follow


def watch(args: argparse.Namespace) -> int:
    """To the batch's end. Raises BatchEndedError unless it completed."""
    display = choose_display(sys.stdout, as_json=args.json)
    check_completed(to_the_end(connected(args), args.id, display))
    return 0


def to_the_end(api: Api, batch_id: str, display: Display) -> Batch:
    """Shows the batch until it is final."""
    last: Any = None
    with display:
        for last in follow(api, batch_id):
            display.show(last)
    return read_batch(last)


def check_completed(batch: Batch) -> None:
    """Raises BatchEndedError with the first reasons."""
    if batch.status == "completed":
        return
    counts = batch.counts
    answered = f"{counts.completed} of {counts.total} requests were answered"
    lines = error_lines(batch) or [f"{answered}; fetch them: vllm-batch results {batch.id}"]
    raise BatchEndedError("\n  ".join([f"{batch.id} ended as {batch.status}", *lines]))
