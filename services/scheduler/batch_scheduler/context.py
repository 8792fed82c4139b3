"""What every part of the scheduler works with."""

from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Row

from batch_common.blobs import BlobStore
from batch_common.bus import Bus
from batch_common.config import Config
from batch_common.db import DATABASE_ERRORS, Database
from batch_common.errors import (
    BlobNotFoundError,
    BlobStoreFullError,
    BusUnavailableError,
    TransientError,
)
from batch_common.logs import get_log
from batch_common.presence import present
from batch_scheduler.fleet import Fleet
from batch_scheduler.rates import Rates
from batch_scheduler.wakes import Wakes

log = get_log(__name__)

SOURCE: Final = "scheduler"

# A row of `batches`, `chunks` or a join of them.
AnyRow = Row[Any]

# Faults after which a loop goes on with its next item and comes back to this one.
PASSING: Final = (
    TransientError,
    BlobNotFoundError,
    BlobStoreFullError,
    *DATABASE_ERRORS,
)


class Context(msgspec.Struct, frozen=True):
    """Made once, in app."""

    config: Config
    database: Database
    blobs: BlobStore
    bus: Bus
    spool_dir: Path
    fleet: Fleet
    rates: Rates
    wakes: Wakes
    # When this process began (Unix seconds). NATS may have begun with it, and have forgotten what
    # it was told before.
    began: float = 0.0

    async def look_at_fleet(self) -> None:
        """What it last saw stays when NATS does not answer."""
        try:
            self.fleet.looked(await present(self.bus))
        except BusUnavailableError as error:
            log.warning("fleet_not_seen", error=str(error))
