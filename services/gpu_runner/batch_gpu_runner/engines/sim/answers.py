"""Making answers that the request alone determines: same body, same bytes."""

import struct
from collections.abc import Callable

import msgspec

from batch_gpu_runner.engines.base import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from batch_gpu_runner.engines.sim.bodies import Asked

CREATED = 1_700_000_000  # a fixed moment: the clock is not part of the request
MAX_ANSWER_TOKENS = 4096
_TOKEN = 5  # characters: four letters and a space
_WORDS = b"lore amet dolo sita quam nisi vero magn elit aute " * (MAX_ANSWER_TOKENS // 5)
_WORD_COUNT = 10
_GENERATION = (
    b'{"id":"%b-%b","object":"%b","created":%d,"model":%b,"choices":[%b],'
    b'"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
)
_quoted = msgspec.json.Encoder().encode


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
        b'{"index":%%d,"message":{"role":"assistant","content":"%b"},"logprobs":null,'
        b'"finish_reason":"%b"}' % (text, finish)
    )
    return _generation(b"chatcmpl", b"chat.completion", asked, digest, choice, tokens)


def _completion(asked: Asked, digest: bytes) -> Answer:
    text, tokens, finish = _text(asked, digest)
    choice = b'{"index":%%d,"text":"%b","logprobs":null,"finish_reason":"%b"}' % (text, finish)
    return _generation(b"cmpl", b"text_completion", asked, digest, choice, tokens)


def _generation(
    prefix: bytes, kind: bytes, asked: Asked, digest: bytes, choice: bytes, tokens: int
) -> Answer:
    count = len(asked.prompts)
    choices = b",".join([choice % index for index in range(count)])
    prompt = sum([count_tokens(text) for text in asked.prompts])
    made = tokens * count
    body = _GENERATION % (
        *(prefix, digest.hex().encode(), kind, CREATED, _quoted(asked.model), choices),
        *(prompt, made, prompt + made),
    )
    return Answer(body, prompt + made)


def _response(asked: Asked, digest: bytes) -> Answer:
    text, tokens, _ = _text(asked, digest)
    prompt = sum(map(count_tokens, asked.prompts))
    name = digest.hex().encode()
    body = (
        b'{"id":"resp_%b","object":"response","created_at":%d,"status":"completed","error":null,'
        b'"model":%b,"output":[{"id":"msg_%b","type":"message","role":"assistant",'
        b'"status":"completed","content":[{"type":"output_text","text":"%b","annotations":[]}]}],'
        b'"usage":{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0},"output_tokens":%d,'
        b'"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}}'
        % (name, CREATED, _quoted(asked.model), name, text, prompt, tokens, prompt + tokens)
    )
    return Answer(body, prompt + tokens)


def _embedding(asked: Asked, digest: bytes) -> Answer:
    tokens = sum(map(count_tokens, asked.prompts))
    data = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}'
        % (index, _quoted(_vector(digest, index, asked.dimensions)))
        for index in range(len(asked.prompts))
    )
    body = (
        b'{"object":"list","model":%b,"data":[%b],"usage":{"prompt_tokens":%d,"total_tokens":%d}}'
        % (_quoted(asked.model), data, tokens, tokens)
    )
    return Answer(body, tokens)


def _vector(digest: bytes, index: int, dimensions: int) -> list[float]:
    (seed,) = struct.unpack("<Q", digest)
    # A step that shares no factor with the modulus visits all residues: no two entries are alike.
    return [((seed + index + i * 7919) % 20011 - 10005) / 10005 for i in range(dimensions)]


def _text(asked: Asked, digest: bytes) -> tuple[bytes, int, bytes]:
    """(JSON string content, tokens, finish reason); 16 to 47 tokens unless the limit is lower."""
    wanted = 16 + digest[0] % 32
    tokens = min(wanted, asked.limit or wanted, MAX_ANSWER_TOKENS)
    start = digest[1] % _WORD_COUNT * _TOKEN
    words = _WORDS[start : start + tokens * _TOKEN - 1]
    if asked.as_json:
        return b'{\\"answer\\":\\"%b\\"}' % words, tokens, b"stop"
    return words, tokens, b"stop" if tokens == wanted else b"length"


_MAKERS: dict[str, Callable[[Asked, bytes], Answer]] = {
    CHAT: _chat,
    COMPLETIONS: _completion,
    RESPONSES: _response,
    EMBEDDINGS: _embedding,
}
