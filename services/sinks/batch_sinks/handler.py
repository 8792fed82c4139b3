"""What a user writes to have results delivered to a place of their own."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import TypeAlias, TypedDict

import msgspec

from batch_sinks.results import Results


class RequestCounts(TypedDict):
    """As in OpenAI's batch object."""

    total: int
    completed: int
    failed: int


class TokenUsage(TypedDict):
    """Tokens of the whole batch."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


class BatchMetadata(TypedDict):
    """What is known of a batch when its results are delivered. Times are Unix seconds."""

    tenant: str
    # completed, expired, cancelled or failed.
    status: str
    endpoint: str
    # None for a batch of several models.
    model: str | None
    # What the user gave with the batch.
    metadata: dict[str, str]
    request_counts: RequestCounts
    usage: TokenUsage
    input_file_id: str
    # None where there is no such file.
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    ended_at: int
    # The terminal event; the id is the same in every attempt.
    event_id: str
    event_type: str
    # Counts from 1.
    attempt: int


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What `handle` may return in place of True.

    link: where somebody can look at what was delivered; `GET /v1/batches/{id}/deliveries` shows it
    """

    link: str | None = None


Outcome: TypeAlias = bool | Delivered


class ResultHandler(ABC):
    """One place that the results of finished batches go to.

    Made once, when the service starts, with its `options` as keyword arguments:

        class Archive(ResultHandler):
            def __init__(self, folder: str) -> None:
                self._folder = Path(folder)

            def handle(self, batch_id, results, metadata):
                with (self._folder / f"{batch_id}.jsonl").open("w") as file:
                    for result in results:
                        file.write(json.dumps(result) + "\\n")
                return True

    `handle` may be `async`; then results come by `async for`. Each call has a thread (and, if it
    is asynchronous, an event loop) of its own, so one that blocks holds up nobody else.
    """

    def enabled(self) -> bool:
        """False: not configured; batches are skipped. Asked before each delivery."""
        return True

    @abstractmethod
    def handle(
        self, batch_id: str, results: Results, metadata: BatchMetadata
    ) -> Outcome | Awaitable[Outcome]:
        """Called for each batch that has ended with a file, at least once.

        True, or Delivered: for good. False or an exception: try again later, with growing pauses.
        A process that dies after the work is done and before this is noted calls again, so
        make repeats harmless: overwrite, or write under the batch's id and the custom_id.
        """
