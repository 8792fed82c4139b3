"""Every table, once. Times are Unix seconds: whole ones where OpenAI's API shows them."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

_Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def _id(name: str = "id", *, key: bool = True) -> Column[str]:
    return Column(name, String(64), primary_key=key, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, default=0, server_default="0")


def _usage() -> list[Column[int]]:
    return [
        _count("input_tokens"),
        _count("cached_tokens"),
        _count("output_tokens"),
        _count("reasoning_tokens"),
    ]


files = Table(
    "files",
    metadata,
    _id(),
    Column("tenant", String(255), nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("filename", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("blob_key", Text, nullable=False),
    # True: the object under blob_key is a formats.content.Content naming the parts.
    Column("composed", Boolean, nullable=False, default=False),
    # Hidden from the API at deleted_at; the bytes are gone at purged_at.
    Column("deleted_at", BigInteger),
    Column("purged_at", BigInteger),
    Index("files_by_tenant", "tenant", "id"),
)

uploads = Table(
    "uploads",
    metadata,
    _id(),
    Column("tenant", String(255), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("file_id", String(64)),
    Column("expires_after_s", BigInteger),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    _id(),
    Column("upload_id", String(64), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("blob_key", Text, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    _id(),
    Column("tenant", String(255), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", Text, nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("model", Text),
    Column("errors", _Json),
    Column("output_file_id", String(64)),
    Column("error_file_id", String(64)),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("in_progress_at", BigInteger),
    Column("finalizing_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("failed_at", BigInteger),
    Column("expired_at", BigInteger),
    Column("cancelling_at", BigInteger),
    Column("cancelled_at", BigInteger),
    _count("total"),
    # Of settled chunks only; while a batch runs the API adds the progress of released ones.
    _count("completed"),
    _count("failed"),
    *_usage(),
    Column("metadata", _Json),
    Column("output_expires_after_s", BigInteger),
    Column("traceparent", String(64)),
    # The last commit_seq given to a chunk of this batch.
    _count("commits"),
    # Names the plan by its content (see keys); null before planning, and in the first release.
    Column("plan", String(64)),
    # The blob store has lost the plan for good: what has a result is kept, and the batch ends.
    Column("plan_lost_at", BigInteger),
    # The task_schemas row that its answers are held against; null: none.
    Column("task_schema", String(64)),
    # Examinations of the input that were begun and did not end, because a process died.
    Column("examinations", Integer, nullable=False, default=0, server_default="0"),
    Index("batches_by_tenant", "tenant", "id"),
    Index("batches_by_status", "status"),
)

# Task schemas as they were when batches were created with them: never changed, never deleted.
task_schemas = Table(
    "task_schemas",
    metadata,
    # SHA-256 of the content.
    _id(),
    Column("name", String(64), nullable=False),
    # What task_schema.encode_task_schema gives.
    Column("content", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# A run of planned lines that share a model; release walks each span from first to end.
spans = Table(
    "spans",
    metadata,
    _id("batch_id"),
    Column("ordinal", Integer, primary_key=True, nullable=False, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("first_line", BigInteger, nullable=False),
    Column("end_line", BigInteger, nullable=False),
    Column("first_byte", BigInteger, nullable=False),
    Column("end_byte", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    # Everything before next_line is in a chunk.
    Column("next_line", BigInteger, nullable=False),
    Column("next_byte", BigInteger, nullable=False),
    _count("released_tokens"),
)

chunks = Table(
    "chunks",
    metadata,
    _id(),
    Column("batch_id", String(64), nullable=False),
    Column("tenant", String(255), nullable=False),
    Column("model", Text, nullable=False),
    Column("first_line", BigInteger, nullable=False),
    Column("end_line", BigInteger, nullable=False),
    Column("first_byte", BigInteger, nullable=False),
    Column("end_byte", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("generation", Integer, nullable=False, default=1),
    Column("released_at", Float, nullable=False),
    # The attempt that holds the chunk, its runner, and until when the claim is good.
    Column("attempt", String(64)),
    Column("runner", Text),
    Column("claimed_until", Float),
    Column("manifest_key", Text),
    Column("output_key", Text),
    _count("output_bytes"),
    Column("error_key", Text),
    _count("error_bytes"),
    # Progress while released, final once settled.
    _count("completed"),
    _count("failed"),
    *_usage(),
    Column("commit_seq", BigInteger),
    # Segments are deleted after the commit; null until then.
    Column("swept_at", BigInteger),
    Index("chunks_by_batch", "batch_id", "commit_seq"),
    Index("chunks_by_state", "state", "model"),
    Index("chunks_unswept", "swept_at", "state"),
)

# Models that runners have announced; the configured ones need no row.
models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id("batch_id"),
    Column("sink", String(255), primary_key=True),
    # Of the sink webhook_endpoint: which one; empty: the sink has one place only.
    Column("endpoint", String(64), primary_key=True, default="", server_default=text("''")),
    Column("tenant", String(255), nullable=False),
    # The terminal event's id and type, so that a delivery can be made without the event.
    Column("event_id", String(64), nullable=False),
    Column("event_type", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("created_at", BigInteger, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("claimed_until", Float),
    Column("delivered_at", BigInteger),
    Column("last_error", Text),
    Column("link", Text),
    # Since when it is tried for the whole time again, and the attempts that were made before that.
    Column("redriven_at", Float),
    Column("attempts_before", Integer, nullable=False, default=0, server_default="0"),
    Index("deliveries_due", "sink", "state", "next_at"),
)

# Where a tenant wants the ends of its batches told, made over the API.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    _id(),
    Column("tenant", String(255), nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", _Json, nullable=False),
    # Signs what is sent. Both are empty once the endpoint is deleted.
    Column("secret", Text, nullable=False),
    # Those before it that still sign: {"secret": …, "until": Unix seconds}, the newest first.
    Column("old_secrets", _Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # A deleted one stays for a day, as a cursor for lists.
    Column("deleted_at", BigInteger),
    Index("webhook_endpoints_by_tenant", "tenant", "id"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("stream", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("headers", _Json, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("claimed_until", Float, nullable=False, default=0.0),
    Column("sent_at", Float),
    # Where the message stands: a stream of another `created`, or shorter than seq, has lost it.
    Column("stream_created", String(64)),
    Column("seq", BigInteger),
    Index("outbox_unsent", "sent_at", "id"),
)

# One row. The blob store knows the ids of all who use it, so that none clears out another's.
installation = Table(
    "installation",
    metadata,
    _id(),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("until", Float, nullable=False),
)

# What a tenant's Idempotency-Key has made; written in the transaction that made it.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    # Method and path, and the SHA-256 of the body: a repeat has the same.
    Column("route", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    # The object as it was answered, in JSON.
    Column("answer", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("idempotency_keys_by_age", "created_at"),
)
