"""Token counts, in the names OpenAI's batch object uses."""

from collections.abc import Iterable

import msgspec


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Tokens of one request or of many, added up."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    def by_kind(self) -> tuple[tuple[str, int], ...]:
        """As metrics name them: `cached` is a part of `input`, `reasoning` of `output`."""
        return (
            ("input", self.input_tokens),
            ("cached", self.cached_tokens),
            ("output", self.output_tokens),
            ("reasoning", self.reasoning_tokens),
        )


def total(usages: Iterable[Usage]) -> Usage:
    """The sum; zeros for none."""
    input_tokens = cached_tokens = output_tokens = reasoning_tokens = 0
    for usage in usages:
        input_tokens += usage.input_tokens
        cached_tokens += usage.cached_tokens
        output_tokens += usage.output_tokens
        reasoning_tokens += usage.reasoning_tokens
    return Usage(input_tokens, cached_tokens, output_tokens, reasoning_tokens)
