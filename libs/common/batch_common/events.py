"""The messages: one frozen struct for each, JSON on the wire.

`schemas/events/` holds their JSON Schemas, generated from here. `version` rises when a field
changes its meaning; new optional fields may come at any time.
"""

from typing import ClassVar, Final, Literal, TypeVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what travels on streams; `type` is its CloudEvents type."""

    type: ClassVar[str]
    version: int = 1


class Counts(msgspec.Struct, frozen=True):
    """Requests, as in OpenAI's `request_counts`."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens of a whole batch."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class BatchEvent(Event, frozen=True, kw_only=True):
    """What every batch event carries. `at` is the time of the transition in Unix seconds."""

    batch_id: str
    tenant: str
    endpoint: str
    input_file_id: str
    at: int
    metadata: dict[str, str] | None = None


class BatchSubmitted(BatchEvent, frozen=True, kw_only=True):
    """A batch was accepted and waits for validation."""

    type: ClassVar[str] = "batch.submitted"


class BatchCancelling(BatchEvent, frozen=True, kw_only=True):
    """Somebody asked for cancellation."""

    type: ClassVar[str] = "batch.cancelling"


class BatchInProgress(BatchEvent, frozen=True, kw_only=True):
    """The input is valid and planned; requests start to run."""

    type: ClassVar[str] = "batch.in_progress"
    counts: Counts


class BatchEnded(BatchEvent, frozen=True, kw_only=True):
    """What every terminal event carries. A file id is null where there is no such file."""

    counts: Counts
    usage: TokenUsage = TokenUsage()
    model: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None


class BatchCompleted(BatchEnded, frozen=True, kw_only=True):
    """Every request has its result or its error."""

    type: ClassVar[str] = "batch.completed"


class BatchFailed(BatchEnded, frozen=True, kw_only=True):
    """The input was invalid; nothing ran."""

    type: ClassVar[str] = "batch.failed"


class BatchExpired(BatchEnded, frozen=True, kw_only=True):
    """The completion window ended first; finished results are in the files."""

    type: ClassVar[str] = "batch.expired"


class BatchCancelled(BatchEnded, frozen=True, kw_only=True):
    """Cancellation is done; finished results are in the files."""

    type: ClassVar[str] = "batch.cancelled"


class ChunkReady(Event, frozen=True, kw_only=True):
    """A range of a batch's planned lines, for one runner. Keys, never payloads."""

    type: ClassVar[str] = "chunk.ready"
    chunk: str
    generation: int
    batch_id: str
    model: str
    endpoint: str
    # Blob keys of the planned input and its index.
    input_key: str
    index_key: str
    first_line: int
    end_line: int
    first_byte: int
    end_byte: int
    # Attempts write below this key prefix.
    prefix: str
    # Unix seconds by which the batch expires.
    deadline: int
    # Blob key of the task schema that answers must follow; null: none.
    schema_key: str | None = None


class ChunkCompleted(Event, frozen=True, kw_only=True):
    """An attempt has every result of its chunk; the manifest says where."""

    type: ClassVar[str] = "chunk.completed"
    chunk: str
    generation: int
    attempt: str
    manifest_key: str


class DeliveryFailed(Event, frozen=True, kw_only=True):
    """A sink did not take a batch's end for so long that it was given up; on `dead.<sink>`."""

    type: ClassVar[str] = "delivery.failed"
    batch_id: str
    tenant: str
    sink: str
    # Of the sink webhook_endpoint: which one; null: the sink has one place only.
    endpoint: str | None = None
    # The terminal event that was not delivered.
    event_id: str
    event_type: str
    attempts: int
    # What the last attempt ended with.
    error: str
    # Unix seconds.
    at: int


class ChunkClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Request on `chunk.claim`: may this attempt work (on)? Also heartbeat and progress."""

    chunk: str
    generation: int
    attempt: str
    runner: str
    # Requests with a result so far, those of earlier attempts included.
    completed: int = 0
    failed: int = 0
    # True: the attempt has flushed what it has and lets the chunk go.
    released: bool = False
    # True: the chunk was never delivered before, and this attempt asks for the first time.
    first: bool = False


class ClaimAnswer(msgspec.Struct, frozen=True):
    """go: work (on). busy: another attempt is alive. stop: flush and drop the chunk for good."""

    answer: Literal["go", "busy", "stop"]


class WebhookTest(msgspec.Struct, frozen=True, kw_only=True):
    """Request on `webhook.test`: send this endpoint of the tenant's a sample of an event."""

    tenant: str
    endpoint: str
    event_type: str


class WebhookTested(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint answered; without a status, why it did not, in words for the tenant.

    busy: nothing was sent, since too many samples of the tenant's wait for their answers
    """

    status_code: int | None = None
    error: str = ""
    busy: bool = False


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner says of one model it serves. Rates are over the last minute; null: unknown."""

    name: str
    endpoints: tuple[str, ...]
    requests_per_s: float | None = None
    tokens_per_s: float | None = None


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner says of one GPU it uses; null: this GPU does not say."""

    # The driver's number, that of the whole GPU for a MIG device.
    index: int
    uuid: str
    name: str
    # degraded: gets fewer requests. critical: the runner takes no chunks.
    health: Literal["healthy", "degraded", "critical"]
    # Why it is not healthy, in words fit for anybody; null: it is.
    reason: str | None = None
    # 0.0 to 1.0
    utilization: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None


class RunnerState(msgspec.Struct, frozen=True, kw_only=True):
    """A runner's entry in the `runners` bucket, rewritten every few seconds."""

    runner: str
    engine: str
    models: tuple[ModelState, ...]
    # starting: the engine is not up yet. ready: takes chunks. draining: about to leave. down: the
    # engine does not come up, or a GPU is critical, and the runner holds no chunks until then.
    status: Literal["starting", "ready", "draining", "down"]
    # Why it is not ready, in words fit for anybody; null: nothing to say.
    reason: str | None = None
    window: int = 0
    in_flight: int = 0
    started_at: float = 0.0
    at: float = 0.0
    # The GPUs it uses and watches.
    gpus: tuple[GpuState, ...] = ()
    version: int = 1


BATCH_EVENTS: Final[tuple[type[BatchEvent], ...]] = (
    BatchSubmitted,
    BatchCancelling,
    BatchInProgress,
    BatchCompleted,
    BatchFailed,
    BatchExpired,
    BatchCancelled,
)
# Of a batch's end.
TERMINAL_TYPES: Final = tuple(event.type for event in BATCH_EVENTS if issubclass(event, BatchEnded))
STREAM_EVENTS: Final[tuple[type[Event], ...]] = (
    *BATCH_EVENTS,
    ChunkReady,
    ChunkCompleted,
    DeliveryFailed,
)

AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message)


def decode(data: bytes, kind: type[AnyStruct]) -> AnyStruct:
    """Raises msgspec.DecodeError (ValidationError among them)."""
    return msgspec.json.decode(data, type=kind)
