"""The work of `submit`."""

import argparse
import sys
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any, Final

import msgspec

from batch_cli.client.api import Api, connected, id_of, json_body
from batch_cli.client.create import create
from batch_cli.client.display import choose_display
from batch_cli.client.look import print_json
from batch_cli.client.send_file import send_file
from batch_cli.client.upload import InputFileError
from batch_cli.client.watch import check_completed, to_the_end

_MAX_LINE_BYTES: Final = 64 << 20


def submit(args: argparse.Namespace) -> int:
    """Upload, create, and with --watch follow to the end."""
    metadata = _metadata(args)
    api, path = connected(args), Path(args.file)
    endpoint = args.endpoint or first_endpoint(path)
    batch = create_batch(
        api,
        send_file(api, path),
        endpoint=endpoint,
        window=args.completion_window,
        metadata=metadata,
    )
    return handed_in(api, batch, args)


def _metadata(args: argparse.Namespace) -> dict[str, str]:
    metadata = dict(args.metadata)
    if args.schema is not None and metadata.setdefault("schema", args.schema) != args.schema:
        args.parser.error("--schema and --metadata schema=… differ: give one of them")
    return metadata


def handed_in(api: Api, batch: Any, args: argparse.Namespace) -> int:
    """Says so of a new batch, and with --watch follows it to the end."""
    if args.json:
        print_json(batch)
    else:
        print(id_of(batch), flush=True)
    if args.watch:
        check_completed(to_the_end(api, id_of(batch), choose_display(sys.stderr)))
    return 0


def create_batch(
    api: Api, file_id: str, *, endpoint: str, window: str, metadata: dict[str, str]
) -> Any:
    """The new Batch object."""
    content = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window}
    body = json_body(content | ({"metadata": metadata} if metadata else {}))
    return create(api, "/batches", lambda: body)


class _Line(msgspec.Struct):
    url: str


def first_endpoint(path: Path) -> str:
    """The `url` of the first request. Raises InputFileError."""
    try:
        with path.open("rb") as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            lines = iter(lambda: file.readline(_MAX_LINE_BYTES), b"")
            line = next((line for line in lines if line.strip()), b"")
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}") from error
    try:
        return msgspec.json.decode(line, type=_Line).url
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputFileError(
            f"the first request in {path} is no JSON object with a `url`: each line must be like "
            '{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {…}}'
        ) from error
