"""The work of `retry`."""

import argparse

from batch_cli.client.api import connected, json_body, quoted
from batch_cli.client.create import create
from batch_cli.client.submit import handed_in


def retry(args: argparse.Namespace) -> int:
    """A new batch of what did not succeed in another; with --watch follow it to the end."""
    api = connected(args)
    batch = create(api, f"/batches/{quoted(args.id)}/retry", json_body)
    return handed_in(api, batch, args)
