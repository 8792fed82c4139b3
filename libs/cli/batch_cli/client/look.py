"""The work of `list`, `show` and `cancel`."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final

from batch_cli.client.api import Api, connected, id_of, quoted
from batch_cli.client.batch import Batch, clock, describe, error_lines, read_batch

_PAGE: Final = 100


def list_batches(args: argparse.Namespace) -> int:
    """A table, or a Batch object a line."""
    found = 0
    for content in _newest(connected(args), args.limit):
        if args.json:
            print_json(content)
        else:
            if not found:
                print(_row("ID", "STATUS", "CREATED", "DONE", "FAILED", "MODEL"))
            print(_summary(read_batch(content)))
        found += 1
    if not found and not args.json:
        print("no batches yet: hand one in with vllm-batch submit FILE", file=sys.stderr)
    return 0


def show(args: argparse.Namespace) -> int:
    """One batch, every field that says something."""
    _print(connected(args).get(f"/batches/{quoted(args.id)}"), as_json=args.json)
    return 0


def cancel(args: argparse.Namespace) -> int:
    """Returns at once; the batch ends when what is in flight has."""
    content = connected(args).post(f"/batches/{quoted(args.id)}/cancel")
    if args.json:
        print_json(content)
    else:
        print(f"{args.id} is {read_batch(content).status}")
    return 0


def print_json(content: Any) -> None:
    """On one line, for scripts."""
    print(json.dumps(content, ensure_ascii=False), flush=True)


def _print(content: Any, *, as_json: bool) -> None:
    if as_json:
        print_json(content)
        return
    batch = read_batch(content)
    for label, value in describe(batch):
        print(f"{label:<10} {value}")
    for line in error_lines(batch):
        print(f"{'error':<10} {line}")


def _newest(api: Api, limit: int) -> Iterator[Any]:
    query: dict[str, str] = {}
    while limit > 0:
        query["limit"] = str(min(limit, _PAGE))
        page = api.get("/batches", query)
        data = page.get("data") or []
        yield from data
        limit -= len(data)
        if not data or not page.get("has_more"):
            return
        query["after"] = id_of(data[-1])


def _summary(batch: Batch) -> str:
    counts = batch.counts
    done = f"{counts.done}/{counts.total}"
    model = batch.model or "-"
    return _row(batch.id, batch.status, clock(batch.created_at), done, str(counts.failed), model)


def _row(*cells: str) -> str:
    widths = (33, 12, 20, 15, 7, 0)
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
