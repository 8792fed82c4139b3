"""How an engine's memory settings go down, step by step, after it ran out of memory."""

from typing import Final

import msgspec


class MemoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """Factors on the settings as they were given.

    sequences: computed at once (`max_num_seqs`)
    batched_tokens: of one pass (`max_num_batched_tokens`): the memory of prompts being read
    length: of a prompt with its answer (`max_model_len`), where a length was given: which requests
        fit depends on it, so it goes last
    share: of the GPU's memory (`gpu_memory_utilization`): leaves room for what vLLM did not foresee
    """

    sequences: float = 1.0
    batched_tokens: float = 1.0
    length: float = 1.0
    share: float = 1.0


STEPS: Final = (
    MemoryStep(),
    MemoryStep(sequences=0.75, batched_tokens=0.5, share=0.95),
    MemoryStep(sequences=0.5, batched_tokens=0.25, share=0.90),
    MemoryStep(sequences=0.35, batched_tokens=0.25, length=0.75, share=0.86),
    MemoryStep(sequences=0.25, batched_tokens=0.125, length=0.5, share=0.81),
)
MAX_STEPS: Final = len(STEPS) - 1
