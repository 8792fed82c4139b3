"""When a simulated answer is ready."""

from batch_gpu_runner.engines.sim.options import SimOptions


class Pace:
    """One virtual processor: each request takes its cost after those before it.

    Times are the loop's, in seconds.
    """

    def __init__(self, options: SimOptions) -> None:
        self._per_request_s = 1 / options.requests_per_s if options.requests_per_s else 0.0
        self._per_token_s = 1 / options.tokens_per_s if options.tokens_per_s else 0.0
        self._first_s = options.ttft_ms / 1000
        self._busy_until = 0.0

    @property
    def is_instant(self) -> bool:
        """Whether every answer is ready at once."""
        return not (self._per_request_s or self._per_token_s or self._first_s)

    def ready_at(self, tokens: int, now: float) -> float:
        """The moment for a request of this many tokens that arrives now."""
        cost_s = max(self._per_request_s, tokens * self._per_token_s)
        self._busy_until = max(self._busy_until, now) + cost_s
        return max(self._busy_until, now + self._first_s)
