"""Sending a file: in one request, or in parallel parts where it is too large for one."""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from batch_cli.client.api import Api, Body, id_of, json_body, quoted
from batch_cli.client.create import create
from batch_cli.client.errors import ApiError, UnreachableError
from batch_common.errors import PermanentError

MAX_SINGLE_BYTES: Final = 512 << 20
PART_BYTES: Final = 64 << 20
_PIECE_BYTES: Final = 1 << 20
_PARALLEL: Final = 4

Sent = Callable[[int], None]
"""Told how many further bytes have been sent; negative when some start anew."""


class Source(msgspec.Struct, frozen=True):
    """A range of a file on disk."""

    path: Path
    start: int
    size: int

    def pieces(self, sent: Sent) -> Iterator[bytes]:
        """Read as it is sent, never as a whole."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left and (piece := file.read(min(_PIECE_BYTES, left))):
                yield piece
                left -= len(piece)
                sent(len(piece))
        if left:
            raise InputFileError(f"{self.path} became shorter while it was sent: send it again")


class InputFileError(PermanentError):
    """The file to send cannot be read."""


def upload(api: Api, path: Path, sent: Sent, *, max_single: int = MAX_SINGLE_BYTES) -> str:
    """The id of the new file. `sent` may be called from several threads."""
    size = file_size(path)
    whole = Source(path, 0, size)
    if size > max_single:
        return _in_parts(api, whole, sent)
    form = _Form("file", path.name, whole, sent, {"purpose": "batch"})
    return id_of(create(api, "/files", form.anew))


def file_size(path: Path) -> int:
    """Raises InputFileError for what is no readable file."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}") from error


def multipart(
    field: str, name: str, source: Source, sent: Sent, fields: dict[str, str] | None = None
) -> Body:
    """A form of `fields` and then the file."""
    boundary = secrets.token_hex(16)
    head = "".join(
        _part_head(boundary, key) + value + "\r\n" for key, value in (fields or {}).items()
    )
    head += _part_head(boundary, field, name)
    first, last = head.encode(), f"\r\n--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield first
        yield from source.pieces(sent)
        yield last

    kind = f"multipart/form-data; boundary={boundary}"
    return Body(kind, len(first) + source.size + len(last), pieces())


class _Form:
    """A form that may have to be sent more than once."""

    def __init__(
        self,
        field: str,
        name: str,
        source: Source,
        sent: Sent,
        fields: dict[str, str] | None = None,
    ) -> None:
        self._field = field
        self._name = name
        self._source = source
        self._sent = sent
        self._fields = fields
        self._so_far = 0

    def anew(self) -> Body:
        """What was sent before does not count any more."""
        self._sent(-self._so_far)
        self._so_far = 0
        return multipart(self._field, self._name, self._source, self._count, self._fields)

    def _count(self, size: int) -> None:
        self._so_far += size
        self._sent(size)


def _in_parts(api: Api, whole: Source, sent: Sent) -> str:
    declaration = json_body(_declaration(whole))
    upload_id = id_of(create(api, "/uploads", lambda: declaration))
    sender = _PartSender(api, upload_id, sent)
    try:
        order = json_body({"part_ids": sender.send_all(_parts(whole))})
        done = create(api, f"/uploads/{quoted(upload_id)}/complete", lambda: order)
    except BaseException:
        _abandon(api, upload_id)
        raise
    return id_of(done.get("file"))


class _PartSender:
    """Sends parts from several threads; after one has failed for good the others give up."""

    def __init__(self, api: Api, upload_id: str, sent: Sent) -> None:
        self._api = api
        self._path = f"/uploads/{quoted(upload_id)}/parts"
        self._sent = sent
        self._failed = threading.Event()

    def send_all(self, parts: Iterator[Source]) -> list[str]:
        """The parts' ids, in their order."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            try:
                return list(pool.map(self._send, parts))
            finally:
                self._failed.set()  # whoever still sends has no more to send

    def _send(self, part: Source) -> str:
        if self._failed.is_set():
            raise UnreachableError("the upload was given up, since another part of it failed")
        form = _Form("data", "part", part, self._sent)
        try:
            return id_of(create(self._api, self._path, form.anew, wanted=self._go_on))
        except BaseException:
            self._failed.set()
            raise

    def _go_on(self) -> bool:
        return not self._failed.is_set()


def _parts(whole: Source) -> Iterator[Source]:
    for start in range(0, whole.size, PART_BYTES):
        yield Source(whole.path, start, min(PART_BYTES, whole.size - start))


def _declaration(whole: Source) -> dict[str, str | int]:
    return {
        "filename": whole.path.name,
        "purpose": "batch",
        "bytes": whole.size,
        "mime_type": "application/jsonl",
    }


def _abandon(api: Api, upload_id: str) -> None:
    """What was sent goes now; where that fails, when the upload expires."""
    try:
        api.post(f"/uploads/{quoted(upload_id)}/cancel")
    except (ApiError, UnreachableError):
        return


def _part_head(boundary: str, field: str, filename: str | None = None) -> str:
    named = f'; filename="{_escaped(filename)}"' if filename is not None else ""
    kind = "Content-Type: application/octet-stream\r\n" if filename is not None else ""
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{named}\r\n{kind}\r\n'


def _escaped(name: str) -> str:
    """As browsers write file names into forms."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
