"""The configuration: one frozen tree, parsed once, unknown keys refused.

Read from a YAML file (`${NAME}` and `${NAME:-default}` take environment variables, `$${` stands
for `${`), then `VLLM_BATCH_<SECTION>__<KEY>` environment variables on top, to any depth (their
values are YAML too).
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from batch_common.completion_window import parse_windows
from batch_common.secret import ApiKeys, Options, Secret

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]

MIB = 1 << 20
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class Database(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where rows live."""

    # Empty: SQLite in the data directory. postgresql://user:password@host/name for Postgres.
    url: Secret = Secret("")
    # Connections of each process (Postgres).
    pool_size: Positive = 10


class Nats(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The NATS servers, as a comma-separated list of URLs."""

    url: Secret = Secret("nats://127.0.0.1:4222")
    # With password, where the server asks for it.
    user: str = ""
    password: Secret = Secret("")
    # Path of a .creds file, in place of user and password.
    credentials: str = ""
    # Copies of each stream: 1 on one server, 3 on a cluster.
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    # `up` starts this server; empty: the one on the path, else the one from the wheel.
    server: str = ""


class Blobs(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where files, plans and results live."""

    # Empty: a folder in the data directory. s3://bucket/prefix, gs://…, az://… or file:///path.
    url: str = ""
    # Passed to the store (obstore's names): region, endpoint, access_key_id, …
    options: dict[str, Secret] = field(default_factory=dict)


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a tenant may hand in; the defaults are OpenAI's."""

    # Lines of a batch.
    max_requests: Positive = 50_000
    # Of a batch's input file.
    max_batch_file_bytes: Positive = 200_000_000
    # Of one upload to /v1/files.
    max_file_bytes: Positive = 512 * MIB
    # Of one upload in parts.
    max_upload_bytes: Positive = 8 << 30
    # Of one of its parts.
    max_part_bytes: Positive = 64 * MIB
    # Added up over a batch for /v1/embeddings.
    max_embedding_inputs: Positive = 50_000
    # Other completion windows than 24h, longest first or not: 30m, 6h, 7d.
    completion_windows: tuple[str, ...] = ("24h",)
    # Refuse batches that name more than one model, as OpenAI does.
    single_model: bool = False

    def __post_init__(self) -> None:
        parse_windows(self.completion_windows)


class Gateway(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP API."""

    host: str = "127.0.0.1"
    port: Port = 8000
    # API key → tenant. Empty: everybody is the tenant "default", on loopback only.
    api_keys: ApiKeys = field(default_factory=lambda: ApiKeys({}))
    # Requests may take this long to end when the gateway stops, in seconds.
    drain_s: Seconds = 20.0

    def __post_init__(self) -> None:
        if not self.api_keys and self.host not in LOOPBACK_HOSTS:
            raise ValueError(
                f"gateway.host {self.host!r} is reachable from other machines but no API key is "
                "set: add gateway.api_keys (key: tenant), or listen on 127.0.0.1"
            )


class Scheduler(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Validation, planning and release."""

    # Requests of one chunk.
    chunk_max_requests: Positive = 5_000
    # Bytes of its lines.
    chunk_max_bytes: Positive = 16 * MIB
    # A chunk aims at this much work at the model's measured rate.
    chunk_target_s: Seconds = 120.0
    # A chunk's size while no rate is known yet.
    chunk_first_requests: Positive = 500
    # Chunks released but not settled, for each runner of a model.
    chunks_per_runner: Positive = 3
    # A claim that is not renewed for this long is dead.
    claim_ttl_s: Seconds = 10.0
    # A scheduler that does not renew its lease for this long is replaced.
    lease_ttl_s: Seconds = 10.0
    # Work is looked for this often even when no event says so.
    poll_s: Seconds = 1.0
    # Lost messages and completions are looked for this often.
    reconcile_s: Seconds = 5.0
    # Inputs above this are ordered by prefix within pieces of this size.
    spool_bytes: Positive = 2 << 30
    # Empty: a folder in the data directory.
    spool_dir: str = ""


class Gpu(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Watching the NVIDIA GPUs that the runner uses. A degraded one gets fewer requests at a time;
    of a critical one the runner takes none, and hands back what it has. GPU.md says more.
    """

    # auto: with an engine that computes on GPUs of this machine.
    watch: Literal["auto", "always", "never"] = "auto"
    # They are read this often.
    every_s: Annotated[float, Meta(gt=0, le=3)] = 2.0
    # Degraded from here on, in °C; 0: the GPU's own highest operating temperature.
    degraded_temperature_c: Annotated[int, Meta(ge=0, le=120)] = 0
    # Critical from here on, in °C; 0: where the GPU itself starts to halve its clocks.
    critical_temperature_c: Annotated[int, Meta(ge=0, le=120)] = 0
    # A temperature counts as better when it is below by this, in °C.
    temperature_margin_c: Annotated[int, Meta(ge=0, le=30)] = 5
    # Degraded when this share of the GPU's memory is in use, by whomever; above 1: never.
    degraded_memory: Annotated[float, Meta(gt=0)] = 0.98
    # Critical at this share; above 1: never.
    critical_memory: Annotated[float, Meta(gt=0)] = 0.995
    # Degraded when heat or power held its clocks down in so many readings in a row.
    throttled_readings: Positive = 5
    # A state gets better once all has been well for so long.
    recover_s: Seconds = 30.0
    # Of the window, while a GPU is degraded.
    degraded_window: Annotated[float, Meta(gt=0, le=1)] = 0.5
    # Errors (Xids) that make a GPU critical, besides those of GPU.md.
    critical_xids: tuple[int, ...] = ()
    # Xids without consequence here, of whichever kind.
    ignored_xids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        both = self.degraded_temperature_c and self.critical_temperature_c
        if both and self.degraded_temperature_c >= self.critical_temperature_c:
            raise ValueError("degraded_temperature_c must be below critical_temperature_c")
        if self.degraded_memory >= self.critical_memory:
            raise ValueError("degraded_memory must be below critical_memory")


class Runner(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One engine and the loop that feeds it."""

    # auto: vllm where an NVIDIA GPU and vLLM are, else llamacpp.
    engine: Literal["auto", "vllm", "llamacpp", "openai", "sim"] = "auto"
    # NAME=PATH_OR_HUB_ID; without NAME= the hub id or the folder's name.
    models: tuple[str, ...] = ()
    # Passed to the engine.
    options: dict[str, str] = field(default_factory=dict)
    # The interpreter that has vLLM; empty: this one.
    python: str = ""
    # For the engine `openai`.
    base_url: str = ""
    api_key: Secret = Secret("")
    # Requests in flight; 0: what suits the engine.
    window: Annotated[int, Meta(ge=0)] = 0
    # Chunks held at once, so that the window never runs dry at a chunk's end.
    chunks_held: Positive = 2
    # One request at the engine; then its line gets the error request_timeout.
    request_timeout_s: Seconds = 600.0
    # Tries of one request at an engine that answers 429 or 5xx, or not at all.
    request_attempts: Positive = 5
    # An engine that answers nothing for so long, not even whether it lives, is started again.
    engine_silence_s: Seconds = 60.0
    # An engine may take this long to load its model (or to download it).
    start_timeout_s: Seconds = 1800.0
    # Results are saved this often,
    flush_s: Seconds = 2.0
    # or when this many wait,
    flush_results: Positive = 500
    # or this many bytes.
    flush_bytes: Positive = 4 * MIB
    # Claims are renewed this often.
    claim_s: Seconds = 2.0
    # A chunk whose runner is silent for this long is delivered to another.
    ack_wait_s: Seconds = 30.0
    # Requests in flight may take this long to end when the runner stops.
    drain_s: Seconds = 20.0
    # Where engine output and sockets go; empty: a folder in the data directory.
    state_dir: str = ""
    gpu: Gpu = field(default_factory=Gpu)

    def __post_init__(self) -> None:
        if self.claim_s * 2 >= self.ack_wait_s:
            raise ValueError("runner.claim_s must be below half of runner.ack_wait_s")


class Webhook(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One POST for each batch that ends, as OpenAI sends them."""

    # Takes the ends of all tenants' batches, once `enabled` names webhook.
    url: str = ""
    # whsec_… as `openai` verifies it; signs what goes to `url` and to metadata.webhook_url.
    secret: Secret = Secret("")
    # Which endings are sent to `url`.
    events: tuple[str, ...] = (
        "batch.completed",
        "batch.failed",
        "batch.expired",
        "batch.cancelled",
    )
    # Tenants may make endpoints over the API, and name a URL in a batch's metadata.webhook_url.
    by_api: bool = True
    # Their targets may be http:// as well; the url above may be in any case.
    allow_http: bool = False
    # Allow targets on loopback, private and link-local addresses, theirs and the url above.
    allow_private: bool = False
    # For one attempt.
    timeout_s: Seconds = 15.0


class Postgres(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Results as rows of a table in a Postgres of your own."""

    # postgresql://user:password@host/name
    url: Secret = Secret("")
    # With or without a schema in front; it is made where it is missing.
    table: str = "batch_results"
    # Rows of one transaction.
    rows_at_once: Positive = 5_000
    # One attempt may take this long, in seconds; the next goes on where it was.
    limit_s: Seconds = 3600.0


class S3(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Result files in a bucket of your own. Credentials are looked for where boto does."""

    bucket: str = ""
    # Of every key; may hold {batch_id}, {tenant}, {model}, {status} and {date}, the batch's end.
    prefix: str = "batches/{batch_id}"
    # True: gzip.
    compress: bool = False
    # True: beside the files a results.parquet, a row for each request; needs the extra `parquet`.
    parquet: bool = False
    # Of a multipart upload; a file of more than 10,000 parts has larger ones.
    part_bytes: Annotated[int, Meta(ge=5 * MIB)] = 5 * MIB
    # Empty: as in boto's own configuration.
    region: str = ""
    # For stores that are not Amazon's.
    endpoint_url: str = ""
    # Encrypt with this KMS key; empty: as the bucket does.
    kms_key_id: str = ""
    # Of every object.
    tags: dict[str, str] = field(default_factory=dict)
    # One attempt may take this long, in seconds.
    limit_s: Seconds = 3600.0


class LabelStudio(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Results as tasks for reviewers in Label Studio, the model's answers as predictions."""

    # http://host:port; empty: the environment's LABEL_STUDIO_URL.
    url: str = ""
    # A personal access token or a legacy token; empty: LABEL_STUDIO_API_KEY.
    api_key: Secret = Secret("")
    # 0: LABEL_STUDIO_PROJECT_ID, or without that a project for each task schema, found or made.
    project_id: Annotated[int, Meta(ge=0)] = 0
    # Tasks of one import.
    tasks_at_once: Positive = 500
    # One request to Label Studio may take this long, in seconds.
    timeout_s: Seconds = 120.0
    # One attempt may take this long, in seconds; the next goes on where it was.
    limit_s: Seconds = 3600.0


class CustomHandler(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A result handler of your own, under the name that `enabled` uses; see RESULT_HANDLERS.md."""

    # MODULE:CLASS, or the entry point of an installed package; empty: the one of this name.
    handler: str = ""
    # Given to the class as keyword arguments.
    options: Options = field(default_factory=lambda: Options({}))
    # One call may take this long, in seconds.
    limit_s: Seconds = 3600.0
    # Batches that are handled at the same time.
    parallel: Positive = 1


class Sinks(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where finished batches are delivered."""

    # Of: webhook, postgres, s3, label_studio, the names under custom, entry points of packages.
    enabled: tuple[str, ...] = ()
    # Deliveries are tried again, with growing pauses, for this long.
    retry_for_s: Seconds = 72 * 3600.0
    # Modules named under custom are looked for in this folder, too.
    folder: str = ""
    webhook: Webhook = field(default_factory=Webhook)
    postgres: Postgres = field(default_factory=Postgres)
    s3: S3 = field(default_factory=S3)
    label_studio: LabelStudio = field(default_factory=LabelStudio)
    custom: dict[str, CustomHandler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.enabled)) < len(self.enabled):
            raise ValueError("result_handlers.enabled names one twice: name each one once")


class Schemas(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Task schemas, which a batch names in `metadata.schema`; see SCHEMAS.md."""

    # Yours, each in a file NAME.json; the gateway reads it whenever a batch names one. Names that
    # are not in it are looked for among the built-in ones.
    folder: str = ""


class Metrics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prometheus metrics, on a port of their own; see METRICS.md."""

    # They ask for no key: leave them to loopback or a network of your own.
    host: str = "127.0.0.1"
    # 0: none. `up` gives its services this port and those after it.
    port: Port = 0


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    # auto: for people on a terminal, JSON elsewhere.
    format: Literal["auto", "console", "json"] = "auto"


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything. Each service reads its own section and the shared ones."""

    # Empty: the platform's user data folder.
    data_dir: str = ""
    # Models that are known without a runner having announced them.
    models: tuple[str, ...] = ()
    database: Database = field(default_factory=Database)
    nats: Nats = field(default_factory=Nats)
    blobs: Blobs = field(default_factory=Blobs)
    limits: Limits = field(default_factory=Limits)
    gateway: Gateway = field(default_factory=Gateway)
    scheduler: Scheduler = field(default_factory=Scheduler)
    runner: Runner = field(default_factory=Runner)
    sinks: Sinks = field(default_factory=Sinks, name="result_handlers")
    schemas: Schemas = field(default_factory=Schemas)
    metrics: Metrics = field(default_factory=Metrics)
    log: Log = field(default_factory=Log)
