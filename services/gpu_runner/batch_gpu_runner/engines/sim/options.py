"""What the simulated server can be told to do."""

import re
from typing import Annotated, Final

import msgspec

from batch_gpu_runner.engines.base import EngineOptionError
from batch_gpu_runner.engines.memory_steps import STEPS
from batch_gpu_runner.engines.option_values import typed_options

# Where steps down begin when no number is given.
DEFAULT_SEQUENCES: Final = 256
Rate = Annotated[float, msgspec.Meta(gt=0)]


class SimOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rates are for the whole server and None means as fast as it can.

    ttft_ms: no answer comes earlier than this after its request
    fail_rate: share of the requests that are answered 500, always the same ones
    crash_on, hang_on, oom_on: regular expressions searched for in the prompt: the server dies,
        never answers this request, or dies of memory
    oom_above_tokens: it dies of memory when more than this are in flight (prompts and answers)
    max_num_seqs: requests computed at once; others wait, and take none of those tokens
    fault_file: file that says what requests meet from now on, read again when it changes: see
        `fault_file.Ordered`
    request_log: file that gets a JSON line for each request served: time (Unix seconds), id (a
        digest of the body), prompt (its beginning), status; for a request that met the fault
        file also fault (the mode), with status 0 where it got no answer
    """

    requests_per_s: Rate | None = None
    tokens_per_s: Rate | None = None
    ttft_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    fail_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    crash_on: str | None = None
    hang_on: str | None = None
    oom_on: str | None = None
    oom_above_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_num_seqs: Annotated[int, msgspec.Meta(ge=1)] | None = None
    fault_file: str | None = None
    request_log: str | None = None


def parse_sim_options(options: dict[str, str]) -> SimOptions:
    """Raises EngineOptionError that names the option."""
    parsed = typed_options("sim", options, SimOptions)
    for key in ("crash_on", "hang_on", "oom_on"):
        _check_pattern(key, getattr(parsed, key))
    return parsed


def spared(options: SimOptions, steps: int) -> SimOptions:
    """With its memory settings down by so many steps."""
    if not steps:
        return options
    given = options.max_num_seqs or DEFAULT_SEQUENCES
    sequences = max(1, int(given * STEPS[steps].sequences))
    return msgspec.structs.replace(options, max_num_seqs=sequences)


def _check_pattern(key: str, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise EngineOptionError(
            f"engine sim, option {key}: {pattern!r} is not a regular expression: {error}"
        ) from error
