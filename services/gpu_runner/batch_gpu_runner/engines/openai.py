"""Any OpenAI-compatible endpoint that already runs: vLLM, SGLang, a router, a cloud.

Options: `endpoints` (comma-separated, as `chat/completions,embeddings`) says what it answers when
that is not all four.
"""

import asyncio

import msgspec
from yarl import URL

from batch_common.logs import get_log
from batch_common.secret import Secret
from batch_gpu_runner.engines.base import (
    ENDPOINTS,
    Endpoint,
    EngineAnswer,
    EngineConnectionError,
    EngineLoad,
    EngineOptionError,
    EngineStartError,
    EngineTimeoutError,
)
from batch_gpu_runner.engines.client import EngineClient
from batch_gpu_runner.engines.load_metrics import VLLM, read_load
from batch_gpu_runner.engines.rename import model_of, rename_model
from batch_gpu_runner.engines.settings import EngineSettings, ModelSpec, parse_upstreams

DEFAULT_WINDOW = 64
# An endpoint that lists more than this is a catalogue to choose from.
MAX_LISTED_MODELS = 8

log = get_log(__name__)


class OpenAIEngine:
    """An `Engine` over somebody else's server; starting it only checks that it answers."""

    def __init__(self, settings: EngineSettings) -> None:
        _check_address(settings.base_url)
        self._settings = settings
        self._served = _endpoints(settings.options)
        self._specs = parse_upstreams(settings.models)
        self._has_metrics: bool | None = None
        self._upstream = {s.name: s.source for s in self._specs if s.name != s.source}
        key = settings.api_key.reveal()
        headers = {"Authorization": Secret(f"Bearer {key}")} if key else {}
        self._client = EngineClient(Endpoint(settings.base_url, headers=headers))

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self._specs)

    @property
    def default_window(self) -> int:
        return DEFAULT_WINDOW

    async def start(self) -> None:
        self._client.open()
        try:
            listed = await self._listed_models()
            self._specs = self._specs or self._all_of(listed)
        except BaseException:
            await self.stop()
            raise
        missing = [s.source for s in self._specs if listed and s.source not in listed]
        if missing:
            log.warning("models_not_listed", models=missing, base_url=self._settings.base_url)

    async def stop(self) -> None:
        await self._client.close()

    async def died(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError("an event nobody sets")

    async def is_serving(self) -> bool | None:
        return None

    def spare_memory(self, steps: int) -> None:
        """It is configured elsewhere."""

    def supports(self, endpoint: str) -> bool:
        return endpoint in self._served

    async def post(self, endpoint: str, body: bytes, timeout_s: float) -> EngineAnswer:
        if not self._upstream:
            return await self._client.post(endpoint, body, timeout_s)
        model = model_of(body) or ""
        upstream = self._upstream.get(model, model)
        theirs = rename_model(body, {model: upstream})
        answer = await self._client.post(endpoint, theirs, timeout_s)
        ours = rename_model(answer.body, {upstream: model})
        return msgspec.structs.replace(answer, body=ours)

    async def load(self) -> EngineLoad | None:
        """vLLM's gauges, where the endpoint's server shows them at /metrics."""
        if self._has_metrics is False:
            return None
        load = await read_load(self._client, VLLM)
        self._has_metrics = self._has_metrics or load is not None
        return load

    async def _listed_models(self) -> tuple[str, ...]:
        where = self._settings.base_url
        try:
            answer = await self._client.get_models(timeout_s=30.0)
        except (EngineConnectionError, EngineTimeoutError) as error:
            raise EngineStartError(
                f"the endpoint {where} does not answer ({error}); check runner.base_url"
            ) from error
        if answer.status != 200:
            raise EngineStartError(
                f"the endpoint {where}/models answered {answer.status}; {_remedy(answer.status)}",
                last_words=answer.body[:500].decode("utf-8", "replace"),
            )
        try:
            return tuple(m.id for m in msgspec.json.decode(answer.body, type=_Listing).data)
        except msgspec.MsgspecError:
            return ()

    def _all_of(self, listed: tuple[str, ...]) -> tuple[ModelSpec, ...]:
        if 1 <= len(listed) <= MAX_LISTED_MODELS:
            return tuple(ModelSpec(name, name) for name in listed)
        raise EngineStartError(
            f"the endpoint {self._settings.base_url} lists {len(listed)} models; "
            "say which to use with --model NAME"
        )


def _check_address(base_url: str) -> None:
    try:
        url = URL(base_url)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise EngineOptionError(
            "engine openai needs the address of an endpoint: set runner.base_url to "
            "something like http://host:8000/v1"
        )
    if url.user or url.password:  # the address is logged
        raise EngineOptionError(
            "runner.base_url holds a user name or password: use runner.api_key instead"
        )


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Listed]


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "check runner.api_key"
    if status == 404:
        return "runner.base_url is what comes before /chat/completions, and most end in /v1"
    return "check that it runs and is ready"


def _endpoints(options: dict[str, str]) -> frozenset[str]:
    for key in options:
        if key != "endpoints":
            raise EngineOptionError(f"engine openai has no option {key!r}; it has endpoints")
    if "endpoints" not in options:
        return frozenset(ENDPOINTS)
    named = frozenset(
        "/v1/" + word.strip().removeprefix("/v1/") for word in options["endpoints"].split(",")
    )
    if not named <= set(ENDPOINTS):
        raise EngineOptionError(
            f"engine openai, option endpoints: {options['endpoints']!r} must name some of "
            + ", ".join(path.removeprefix("/v1/") for path in ENDPOINTS)
        )
    return named
