"""A small request of our own: does the engine answer anything at all?"""

from typing import Any, Final

import msgspec

from batch_gpu_runner.engines.base import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    ENDPOINTS,
    RESPONSES,
    Engine,
    EngineConnectionError,
    EngineTimeoutError,
)

PROMPT: Final = "Are you there?"
TIMEOUT_S: Final = 120.0

_BODIES: Final[dict[str, dict[str, Any]]] = {
    CHAT: {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1},
    COMPLETIONS: {"prompt": PROMPT, "max_tokens": 1},
    EMBEDDINGS: {"input": PROMPT},
    RESPONSES: {"input": PROMPT, "max_output_tokens": 16},
}


async def answers(engine: Engine, timeout_s: float) -> bool:
    """Whether the engine answers for each of its models, and lives on."""
    for model in engine.models:
        if not await _answers(engine, model, timeout_s):
            return False
    return True


async def _answers(engine: Engine, model: str, timeout_s: float) -> bool:
    endpoint = next(filter(engine.supports, ENDPOINTS), CHAT)
    body = msgspec.json.encode({"model": model, **_BODIES[endpoint]})
    try:
        answer = await engine.post(endpoint, body, timeout_s)
    except (EngineConnectionError, EngineTimeoutError):
        return False
    # vLLM's front end answers 500 for an engine that is dead behind it.
    return answer.status < 500 or await engine.is_serving() is not False
