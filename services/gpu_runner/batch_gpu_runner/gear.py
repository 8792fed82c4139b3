"""What one runner is made of."""

import msgspec

from batch_common.config import Runner
from batch_gpu_runner.engines.base import Engine
from batch_gpu_runner.gpu.watch import GpuWatch
from batch_gpu_runner.memory_record import MemoryRecord


class Gear(msgspec.Struct, frozen=True, kw_only=True):
    """kind: the engine's name as others see it; gpus: those under it, looked up already."""

    engine: Engine
    kind: str
    gpus: GpuWatch
    record: MemoryRecord
    settings: Runner
