"""What an engine is: an OpenAI-compatible HTTP server that the runner starts, feeds and stops.

Errors that leave an engine:

StartError (batch_common)
└── EngineStartError       the engine does not serve; carries its own last words
ConfigError (batch_common)
└── EngineOptionError      a name, option or model that no engine can be started with
TransientError (batch_common)
├── EngineConnectionError  the engine cannot be reached or dropped the request
└── EngineTimeoutError     no complete answer within the request's time
"""

from typing import Protocol

import msgspec

from batch_common.errors import ConfigError, StartError, TransientError
from batch_common.secret import Secret

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
RESPONSES = "/v1/responses"
ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)
"""The endpoints a batch can name, as the batch and its lines write them."""


class EngineStartError(StartError):
    """The engine does not serve. `str(error)` holds its last words and what to do.

    last_words: what the engine itself said, without our frame around it; empty when it said nothing
    output_file: where the rest of its output is; None for engines that we do not run
    """

    def __init__(
        self, message: str, *, last_words: str = "", output_file: str | None = None
    ) -> None:
        super().__init__(message)
        self.last_words = last_words
        self.output_file = output_file


class EngineOptionError(ConfigError):
    """An engine name, an option or a model that cannot work; nothing was started."""


class EngineConnectionError(TransientError):
    """The engine cannot be reached, or the connection broke before the answer was complete."""


class EngineTimeoutError(TransientError):
    """The engine did not answer completely within the time the request was given."""


class EngineAnswer(msgspec.Struct, frozen=True):
    """One HTTP answer, of any status.

    body: as received, neither decoded nor checked: a proxy may have answered HTML
    retry_after_s: seconds the engine asks us to wait (`retry-after-ms`, `Retry-After`); None when
        it does not say
    """

    status: int
    body: bytes
    retry_after_s: float | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """Where an engine listens.

    base_url: what "/v1" of an endpoint stands for, as in the OpenAI client: `http://host:8000/v1`
    unix_socket: path of the socket that the connection really goes to; None for TCP
    headers: sent with every request (authorization)
    """

    base_url: str
    unix_socket: str | None = None
    headers: dict[str, Secret] = {}


class EngineLoad(msgspec.Struct, frozen=True):
    """How busy the engine says it is. None where it does not say.

    waiting: requests queued inside the engine
    running: requests being computed
    kv_cache_usage: 0.0 to 1.0
    """

    waiting: int | None = None
    running: int | None = None
    kv_cache_usage: float | None = None


class Engine(Protocol):
    """A model server. One task starts and stops it; `post` and `load` run concurrently.

    After `died()` has returned, `start()` may be called again on the same object.
    """

    @property
    def models(self) -> tuple[str, ...]:
        """The names that requests use and answers echo.

        Known at once, but for `openai` without configured models, which asks in `start()`.
        """
        ...

    @property
    def default_window(self) -> int:
        """Requests in flight that suit this engine when nothing else is configured."""
        ...

    async def start(self) -> None:
        """Return once the engine serves; a process left from before is stopped first.

        Raises EngineStartError. Cancelling it stops what was started.
        """
        ...

    async def stop(self) -> None:
        """End the engine's whole process group, in `stop_grace_s` and some seconds. Idempotent."""
        ...

    async def died(self) -> str:
        """Wait until the started engine is gone and return why, in its own last words.

        Returns as well after `stop()`. Never returns for an engine that we do not run.
        """
        ...

    async def is_serving(self) -> bool | None:
        """Whether it says, within some seconds, that it can answer requests.

        None for an engine that we do not run: it is not ours to judge.
        """
        ...

    def spare_memory(self, steps: int) -> None:
        """From the next start on, take memory settings down by so many steps from those given.

        0: as given. Nothing happens on engines that have no such settings.
        """
        ...

    def supports(self, endpoint: str) -> bool:
        """Whether the engine answers this endpoint. Final once `start()` has returned."""
        ...

    async def post(self, endpoint: str, body: bytes, timeout_s: float) -> EngineAnswer:
        """Send one request, its body verbatim, and return the answer whatever its status.

        Raises EngineConnectionError and EngineTimeoutError. A cancelled call closes its
        connection, by which engines notice that they can drop the request.
        """
        ...

    async def load(self) -> EngineLoad | None:
        """What the engine's metrics say now; None when it has none or does not answer."""
        ...
