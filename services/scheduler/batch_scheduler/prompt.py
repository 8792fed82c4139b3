"""What planning wants to know of a prompt, from its JSON text alone."""

from typing import Final
from zlib import crc32

import msgspec

from batch_scheduler.rules import Body

_NEAR: Final = 256
_FAR: Final = 1024
_ROLE: Final = b'"role"'
# The first key of the first message ends before this, whatever white space there is.
_FIRST_KEY: Final = 16
# Bytes of English prose, or of JSON around it, to one token.
_BYTES_PER_TOKEN: Final = 4
# Output of a request that sets no limit of its own.
_OUTPUT_TOKENS: Final = 256
_MOST_TOKENS: Final = 1 << 24
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def prefix_keys(prompt: bytes) -> tuple[int, int, int]:
    """Three 32-bit keys, each of a longer beginning than the one before.

    Of a conversation: all messages but the last, and the same with the first 256 and 1,024 bytes
    of the last one. Lines of equal keys share that much of the engine's prefix cache. Two
    beginnings that happen to share a key cost order, not correctness.
    """
    lead = _leading_bytes(prompt)
    leading = crc32(prompt[:lead])
    near = crc32(prompt[lead : lead + _NEAR], leading)
    if len(prompt) <= lead + _NEAR:
        return leading, near, near
    return leading, near, crc32(prompt[lead + _NEAR : lead + _FAR], near)


def _leading_bytes(prompt: bytes) -> int:
    """Where the last message starts, or ends when `role` is not its first key; 0 without roles.

    Inside a JSON string the quotes of `"role"` would be escaped, so it is a key or a value here.
    """
    last = prompt.rfind(_ROLE)
    if last < 0 or _ROLE in prompt[:_FIRST_KEY]:
        return max(last, 0)
    return max(prompt.rfind(_ROLE, 0, last), 0)


def estimate_tokens(prompt_bytes: int, body: Body) -> int:
    """Prompt and answer together, roughly: for shares and sizes, never for limits."""
    limit = body.max_completion_tokens or body.max_tokens or body.max_output_tokens
    if type(limit) is int and limit > 0:
        return min(prompt_bytes // _BYTES_PER_TOKEN + limit, _MOST_TOKENS)
    return prompt_bytes // _BYTES_PER_TOKEN + _OUTPUT_TOKENS


def count_inputs(prompt: bytes) -> int:
    """Inputs of an embedding request: texts, or arrays of tokens; a bare one of either is 1."""
    if not prompt.startswith(b"["):
        return 1
    items = _ITEMS.decode(prompt)
    return len(items) if items and bytes(items[0])[:1] in (b'"', b"[") else 1
