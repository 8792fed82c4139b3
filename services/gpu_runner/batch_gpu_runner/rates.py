"""How fast a model is served: requests and tokens a second over the last minute of work."""

from collections import deque
from typing import Final

import msgspec

_BUCKETS: Final = 60


class Rate(msgspec.Struct, frozen=True):
    requests_per_s: float
    tokens_per_s: float


class _Bucket(msgspec.Struct, frozen=True):
    seconds: float
    requests: int
    tokens: int


class Rates:
    """One model's rates. The owner calls `tick` about once a second; no clock inside."""

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque(maxlen=_BUCKETS)
        self._requests = 0
        self._tokens = 0

    def add(self, tokens: int) -> None:
        """One request got its result."""
        self._requests += 1
        self._tokens += tokens

    def tick(self, seconds: float, *, busy: bool) -> None:
        """Closes a bucket. Time without work is left out: it says nothing about the speed."""
        if busy or self._requests:
            self._buckets.append(_Bucket(seconds, self._requests, self._tokens))
        self._requests = self._tokens = 0

    def measured(self) -> Rate | None:
        """None before the first result."""
        requests = sum(bucket.requests for bucket in self._buckets)
        if not requests:
            return None
        seconds = sum(bucket.seconds for bucket in self._buckets)
        tokens = sum(bucket.tokens for bucket in self._buckets)
        return Rate(requests / seconds, tokens / seconds)
