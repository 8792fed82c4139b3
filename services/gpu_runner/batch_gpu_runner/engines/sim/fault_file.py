"""Faults that come and go while the simulated server runs: a file says which."""

import random
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

Mode = Literal["none", "status", "garbage", "half_body", "hang", "close", "die", "no_start"]


class Ordered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds, as a JSON object.

    mode: what requests meet. `status`: that HTTP status, with an error as body; `garbage`: 200 and
        bytes that are no JSON; `half_body`: half of the right answer, then the connection breaks;
        `hang`: no answer ever; `close`: the connection breaks at once; `die`: the server dies;
        `no_start`: requests are served, but a server that is started ends at once
    status: for `status` only
    retry_after_s: sent as `Retry-After` with `status`; None for none
    rate: share of the requests that are met, drawn anew for each
    """

    mode: Mode = "none"
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 503
    retry_after_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


_NONE: Final = Ordered()
_decode = msgspec.json.Decoder(Ordered).decode


class FaultFile:
    """The file is read again whenever it has changed; without it there is no fault.

    Replace it in one step (write beside it, rename): what cannot be read is said once, on standard
    error, and is no fault either.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._ordered = _NONE

    def strike(self) -> Ordered | None:
        """What this request meets; None when it is served."""
        ordered = self.current()
        if ordered.mode in ("none", "no_start") or random.random() >= ordered.rate:
            return None
        return ordered

    def current(self) -> Ordered:
        """What the file says now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._ordered = None, _NONE
            return self._ordered
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen != self._seen:
            self._seen, self._ordered = seen, self._read()
        return self._ordered

    def _read(self) -> Ordered:
        try:
            return _decode(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError) as error:
            sys.stderr.write(f"WARNING: fault_file {self._path}: {error}\n")
            sys.stderr.flush()
            return _NONE
