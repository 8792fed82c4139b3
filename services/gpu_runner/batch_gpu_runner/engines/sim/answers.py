"""Making answers that the request alone determines: same body, same bytes."""

import functools
from collections.abc import Callable

import msgspec

from batch_gpu_runner.engines.base import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from batch_gpu_runner.engines.sim.bodies import Asked
from batch_gpu_runner.engines.sim.instances import instance_of

CREATED = 1_700_000_000  # a fixed moment: the clock is not part of the request
_LONGEST = 48  # tokens
_TOKEN = 5  # characters: four letters and a space
_TEN_WORDS = "lore amet dolo sita quam nisi vero magn elit aute "
_WORDS = _TEN_WORDS * (_LONGEST // 10 + 2)


class Answer(msgspec.Struct, frozen=True):
    """body: the whole JSON; tokens: prompt and answer together, what it costs to compute."""

    body: bytes
    tokens: int


def make_answer(endpoint: str, asked: Asked, digest: bytes) -> Answer:
    """`digest` is 8 bytes that stand for the request's body."""
    return _MAKERS[endpoint](asked, digest)


def count_tokens(text: str) -> int:
    """Four characters make a token, as a rule of thumb."""
    return len(text) // 4 + 1


def _chat(asked: Asked, digest: bytes) -> Answer:
    text, tokens, finish = _text(asked, digest)
    choice = (
        f',"message":{{"role":"assistant","content":"{text}"}},"logprobs":null,'
        f'"finish_reason":"{finish}"}}'
    )
    return _generation("chatcmpl", "chat.completion", asked, digest, choice, tokens)


def _completion(asked: Asked, digest: bytes) -> Answer:
    text, tokens, finish = _text(asked, digest)
    choice = f',"text":"{text}","logprobs":null,"finish_reason":"{finish}"}}'
    return _generation("cmpl", "text_completion", asked, digest, choice, tokens)


def _generation(
    prefix: str, kind: str, asked: Asked, digest: bytes, choice: str, tokens: int
) -> Answer:
    count = len(asked.prompts)
    choices = ",".join([f'{{"index":{index}{choice}' for index in range(count)])
    prompt, made = _prompt_tokens(asked), tokens * count
    body = (
        f'{{"id":"{prefix}-{digest.hex()}","object":"{kind}","created":{CREATED},'
        f'"model":{_quoted(asked.model)},"choices":[{choices}],"usage":{{"prompt_tokens":{prompt},'
        f'"completion_tokens":{made},"total_tokens":{prompt + made}}}}}'
    )
    return Answer(body.encode(), prompt + made)


def _response(asked: Asked, digest: bytes) -> Answer:
    text, tokens, _ = _text(asked, digest)
    prompt, name = _prompt_tokens(asked), digest.hex()
    body = (
        f'{{"id":"resp_{name}","object":"response","created_at":{CREATED},"status":"completed",'
        f'"error":null,"model":{_quoted(asked.model)},"output":[{{"id":"msg_{name}",'
        '"type":"message","role":"assistant","status":"completed","content":['
        f'{{"type":"output_text","text":"{text}","annotations":[]}}]}}],'
        f'"usage":{{"input_tokens":{prompt},"input_tokens_details":{{"cached_tokens":0}},'
        f'"output_tokens":{tokens},"output_tokens_details":{{"reasoning_tokens":0}},'
        f'"total_tokens":{prompt + tokens}}}}}'
    )
    return Answer(body.encode(), prompt + tokens)


def _embedding(asked: Asked, digest: bytes) -> Answer:
    tokens = _prompt_tokens(asked)
    data = [
        {"object": "embedding", "index": n, "embedding": _vector(digest, n, asked.dimensions)}
        for n in range(len(asked.prompts))
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "model": asked.model, "data": data, "usage": usage}
    return Answer(msgspec.json.encode(body), tokens)


def _vector(digest: bytes, index: int, dimensions: int) -> list[float]:
    seed = int.from_bytes(digest, "little")
    # A step that shares no factor with the modulus visits all residues: no two entries are alike.
    return [((seed + index + i * 7919) % 20011 - 10005) / 10005 for i in range(dimensions)]


def _text(asked: Asked, digest: bytes) -> tuple[str, int, str]:
    """(JSON string content, tokens, finish reason); 17 to 48 tokens unless the limit is lower.

    An answer that a schema asks for is as short as the schema has it, whatever the limit.
    """
    if asked.schema is not None and (fitting := instance_of(asked.schema)) is not None:
        return _quoted(fitting)[1:-1], count_tokens(fitting), "stop"
    wanted = _LONGEST - digest[0] % 32
    tokens = min(wanted, asked.limit or wanted)
    start = digest[1] % 10 * _TOKEN
    words = _WORDS[start : start + tokens * _TOKEN - 1]
    if asked.as_json:
        return f'{{\\"answer\\":\\"{words}\\"}}', tokens, "stop"
    return words, tokens, "stop" if tokens == wanted else "length"


def _prompt_tokens(asked: Asked) -> int:
    return sum([count_tokens(prompt) for prompt in asked.prompts])


@functools.lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


_MAKERS: dict[str, Callable[[Asked, bytes], Answer]] = {
    CHAT: _chat,
    COMPLETIONS: _completion,
    RESPONSES: _response,
    EMBEDDINGS: _embedding,
}
