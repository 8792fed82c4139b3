"""What a request body says, as one hash: equal requests have equal ones.

A repeated form has another boundary and repeated JSON may be spaced otherwise, so what is hashed
is the form's parts, in their order, and the JSON's values.
"""

import contextlib
import hashlib

import msgspec


class BodyDigest:
    """Feed it one JSON body, or a form part by part; `whole` once it has seen all.

    `wanted` False saves the work where nobody will ask.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._all = hashlib.sha256()
        self._part = hashlib.sha256()
        self.whole = False

    def json(self, raw: bytes) -> None:
        """Also takes what is no JSON, as it stands."""
        with contextlib.suppress(msgspec.MsgspecError, RecursionError):
            raw = msgspec.json.encode(msgspec.json.decode(raw), order="deterministic")
        self._all.update(raw)
        self.whole = True

    def begin_part(self, name: str, filename: str | None) -> None:
        self._part = hashlib.sha256(msgspec.json.encode([name, filename]) + b"\n")

    def feed(self, data: bytes | bytearray) -> None:
        """Bytes of the part that has begun."""
        if self._wanted:
            self._part.update(data)

    def end_part(self) -> None:
        self._all.update(self._part.digest())

    def end_form(self) -> None:
        self.whole = True

    def hex(self) -> str:
        return self._all.hexdigest()
