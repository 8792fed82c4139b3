"""What a sink is: one place that finished batches are delivered to."""

from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from batch_common.errors import TransientError

if TYPE_CHECKING:
    from batch_sinks.ended import EndedBatch


class DeliveryError(TransientError):
    """The receiver did not take it. The message ends in rows and logs, so it holds no secrets."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One batch's end, on its way to one sink. The same in every attempt but for `attempt`."""

    sink: str
    # Of the sink webhook_endpoint: which one; empty: the sink has one place only.
    endpoint: str = ""
    batch_id: str
    tenant: str
    # The terminal event: its id, its type, and when the batch ended (Unix seconds).
    event_id: str
    event_type: str
    ended_at: int
    # Counts from 1.
    attempt: int
    # An administrator had it tried anew then (Unix seconds), after so many attempts.
    redriven_at: float | None = None
    attempts_before: int = 0

    @property
    def tried_since(self) -> float:
        """When the time for tries began."""
        return self.ended_at if self.redriven_at is None else self.redriven_at

    @property
    def tries(self) -> int:
        """Attempts since then; counts from 1."""
        return self.attempt - self.attempts_before

    @property
    def place(self) -> "Place":
        return self.tenant, self.endpoint


# Whose, and which endpoint: what hangs at one is no reason to wait at another.
Place: TypeAlias = tuple[str, str]


class Sink(Protocol):
    """Delivers at least once; the receiver drops repeats by an id that stays the same."""

    @property
    def name(self) -> str:
        """As in `result_handlers.enabled`, in rows and in subjects: letters, digits, `_`, `-`."""

    @property
    def limit_s(self) -> float:
        """No attempt takes longer."""

    @property
    def side_by_side(self) -> int:
        """At most so many attempts run at once in a process."""

    @property
    def for_each(self) -> int:
        """About so many of them for one place, so that the rest is there for others."""

    async def wants(self, item: Item, batch: "EndedBatch") -> bool:
        """False: this batch is skipped, for good. Raises DeliveryError when it cannot say."""

    async def deliver(self, item: Item, batch: "EndedBatch") -> str | None:
        """Returns once the receiver has it: a link to where it can be looked at, or None.

        Raises DeliveryError; the caller tries again.
        """

    async def close(self) -> None:
        """Gives up connections. Nothing is being delivered any more."""
