"""Result handlers as users write them, good ones and bad ones; they keep books in a folder."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from batch_sinks import BatchMetadata, Delivered, ResultHandler, Results
from batch_sinks.sink import DeliveryError


class Books(ResultHandler):
    """`<folder>/<batch>.jsonl`: the results; `<folder>/calls`: a line for each call."""

    def __init__(self, folder: str, token: str = "") -> None:
        self.folder = Path(folder)
        self.token = token

    def note(self, batch_id: str, metadata: BatchMetadata) -> int:
        """How many calls there were before."""
        calls = self.folder / "calls"
        before = len(calls.read_text().splitlines()) if calls.exists() else 0
        with calls.open("a") as file:
            file.write(json.dumps({"batch": batch_id, **metadata}) + "\n")
        return before


class Sync(Books):
    """Reads everything twice, as one does who counts before writing."""

    def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> bool:
        self.note(batch_id, metadata)
        count = sum(1 for _ in results)
        lines = [json.dumps(result) for result in results]
        assert len(lines) == count
        (self.folder / f"{batch_id}.jsonl").write_text("".join(line + "\n" for line in lines))
        return True


class Async(Books):
    async def handle(self, batch_id: str, results: Results, metadata: BatchMetadata) -> bool:
        self.note(batch_id, metadata)
        lines = [json.dumps(result) async for result in results]
        await asyncio.sleep(0)
        (self.folder / f"{batch_id}.jsonl").write_text("".join(line + "\n" for line in lines))
        return True


class NotConfigured(Books):
    def enabled(self) -> bool:
        return bool(self.token)

    def handle(self, batch_id: str, _: Results, metadata: BatchMetadata) -> bool:
        self.note(batch_id, metadata)
        return True


class Raises(Books):
    """At the first call; the second is a success."""

    def handle(self, batch_id: str, _: Results, metadata: BatchMetadata) -> bool:
        if self.note(batch_id, metadata):
            return True
        raise SystemExit("the warehouse is closed")


class Links(Books):
    """Says where what it has delivered can be looked at."""

    async def handle(self, batch_id: str, _: Results, metadata: BatchMetadata) -> Delivered:
        self.note(batch_id, metadata)
        return Delivered(link=f"https://warehouse.internal/{batch_id}")


class SaysNo(Books):
    """Or rather nothing at all, the first time."""

    def handle(self, batch_id: str, _: Results, metadata: BatchMetadata) -> bool:
        return self.note(batch_id, metadata) > 0 or None  # type: ignore[return-value]


class Hangs(Books):
    """Blocks for ever, in the way that is asked for, at the first call."""

    def __init__(self, folder: str, how: str) -> None:
        super().__init__(folder)
        self.how = how
        self.ended = threading.Event()

    def handle(
        self, batch_id: str, results: Results, metadata: BatchMetadata
    ) -> bool | Awaitable[bool]:
        if self.note(batch_id, metadata):
            return True
        ways: dict[str, Callable[[Results], bool | Awaitable[bool]]] = {
            "sync": self._block,
            "reading": self._read_on,
            "async": self._wait,
            "blocked loop": self._block_loop,
        }
        return ways[self.how](results)

    def _block(self, _: Results) -> bool:
        threading.Event().wait()
        return True

    def _read_on(self, results: Results) -> bool:
        try:
            while True:
                for _ in results:
                    time.sleep(0.01)
        finally:
            (self.folder / "ended").touch()

    async def _wait(self, _: Results) -> bool:
        try:
            await asyncio.Event().wait()
        finally:
            (self.folder / "ended").touch()
        return True

    async def _block_loop(self, _: Results) -> bool:
        threading.Event().wait()
        return True


class Slow(Books):
    """Takes its time, and does it once only."""

    def __init__(self, folder: str, seconds: float) -> None:
        super().__init__(folder)
        self.seconds = seconds

    def handle(self, batch_id: str, _: Results, metadata: BatchMetadata) -> bool:
        self.note(batch_id, metadata)
        time.sleep(self.seconds)
        return True


class SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text either")


class Truthless:
    """As an array of several numbers, which is neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


class SaysAnything(Books):
    """What the batch's metadata name, whatever the types would allow."""

    ODD: Final[dict[str, Callable[[], Any]]] = {
        "raise surrogate": lambda: ValueError("half \ud800 and \0"),
        "raise silent": SilentError,
        "raise long": lambda: ValueError("x" * 200_000),
        "raise delivery error": lambda: DeliveryError("half \ud800" + "x" * 200_000),
        "truthless": Truthless,
        "none": lambda: None,
        "one": lambda: 1,
        "link surrogate": lambda: Delivered(link="https://w/\ud800"),
        "link nul": lambda: Delivered(link="https://w/\0"),
        "link number": lambda: Delivered(link=5),  # type: ignore[arg-type]
        "link long": lambda: Delivered(link="https://w/" + "x" * 200_000),
        "link empty": lambda: Delivered(link=""),
    }

    def handle(self, batch_id: str, _: Results, metadata: BatchMetadata) -> Any:
        self.note(batch_id, metadata)
        made = self.ODD[metadata["metadata"]["says"]]()
        if isinstance(made, Exception):
            raise made
        return made


class EnabledAnyhow(Sync):
    """`enabled` says what is named."""

    def __init__(self, folder: str, says: str) -> None:
        super().__init__(folder)
        self.says = says

    def enabled(self) -> Any:
        if self.says == "raise":
            raise SilentError
        return Truthless() if self.says == "truthless" else self.says


class CannotBeMade(NotConfigured):
    def __init__(self, folder: str, token: str) -> None:
        raise ValueError(f"bad token {token} for {folder}")


NOT_A_HANDLER = dict
