"""All of them."""

from typing import Final

from mutants.catalogue import (
    backup,
    common,
    edges,
    gpu,
    label_studio,
    runner,
    scheduler,
    task_schemas,
)
from mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *common.MUTANTS,
    *scheduler.MUTANTS,
    *runner.MUTANTS,
    *edges.MUTANTS,
    *gpu.MUTANTS,
    *label_studio.MUTANTS,
    *task_schemas.MUTANTS,
    *backup.MUTANTS,
)
