"""One request: what an answer, or none, means for it."""

from typing import Final

import msgspec

from batch_common.formats.result import LineError, Response
from batch_common.formats.usage import Usage
from batch_gpu_runner.answer import Checked, check_body
from batch_gpu_runner.engines.base import EngineAnswer, EngineConnectionError, EngineTimeoutError

_TRANSIENT: Final = frozenset({408, 409, 429})
# These speak of the engine, not of the request: sending others meanwhile makes it worse.
_OVERLOAD: Final = frozenset({408, 429, 502, 503, 504})
_EXCERPT: Final = 200

REQUEST_TIMEOUT: Final = "request_timeout"
ENGINE_ERROR: Final = "engine_error"
ENDPOINT_UNSUPPORTED: Final = "endpoint_unsupported"


class Policy(msgspec.Struct, frozen=True):
    """When to try again. Pauses in seconds; a `Retry-After` is honoured up to `longest_s`."""

    attempts: int
    base_s: float = 0.5
    cap_s: float = 30.0
    longest_s: float = 120.0


class Result(msgspec.Struct, frozen=True):
    """What a request ends with: an HTTP answer, or an error where there was none to show."""

    succeeded: bool
    status: int = 0
    checked: Checked | None = None
    error: LineError | None = None

    @property
    def usage(self) -> Usage | None:
        return self.checked.usage if self.checked else None

    def response(self, request_id: str) -> Response | None:
        """`request_id` is for an answer that has no id of its own."""
        if self.checked is None:
            return None
        return Response(self.status, self.checked.id or request_id, self.checked.body)


class Retry(msgspec.Struct, frozen=True):
    """Send it again after `delay_s`, before jitter.

    slows: the engine is overloaded, so nothing is sent in this one's place meanwhile
    """

    delay_s: float
    slows: bool


Outcome = EngineAnswer | EngineConnectionError | EngineTimeoutError


def decide(outcome: Outcome, attempt: int, policy: Policy) -> Result | Retry:
    """`attempt` counts from 1."""
    if isinstance(outcome, EngineAnswer):
        return _decide_answer(outcome, attempt, policy)
    if isinstance(outcome, EngineTimeoutError):
        return failed(REQUEST_TIMEOUT, str(outcome))
    if attempt < policy.attempts:
        return Retry(pause_s(attempt, policy), slows=True)
    return failed(ENGINE_ERROR, f"the engine could not be reached: {outcome}")


def _decide_answer(answer: EngineAnswer, attempt: int, policy: Policy) -> Result | Retry:
    status = answer.status
    checked = check_body(answer.body)
    is_2xx = 200 <= status < 300
    if checked is not None and is_2xx:
        return Result(succeeded=True, status=status, checked=checked)
    if attempt < policy.attempts and (is_2xx or status >= 500 or status in _TRANSIENT):
        asked_s = min(answer.retry_after_s or 0.0, policy.longest_s)
        return Retry(max(pause_s(attempt, policy), asked_s), slows=status in _OVERLOAD)
    if checked is None:
        return failed(ENGINE_ERROR, _not_json(answer))
    return Result(succeeded=False, status=status, checked=checked)


def pause_s(attempt: int, policy: Policy) -> float:
    """The pause after the failure of `attempt`."""
    return float(min(policy.cap_s, policy.base_s * 2 ** (attempt - 1)))


def failed(code: str, message: str) -> Result:
    """A result without an HTTP answer."""
    return Result(succeeded=False, error=LineError(code, message))


def _not_json(answer: EngineAnswer) -> str:
    excerpt = answer.body[:_EXCERPT].decode("utf-8", "replace").strip()
    return f"the engine answered {answer.status} with a body that is not a JSON object: {excerpt!r}"
