"""What wakes the loops before their next poll."""

import asyncio


class Wakes:
    """Set by whoever makes work for a loop; an event that is lost costs one poll."""

    def __init__(self) -> None:
        self.validate_small = asyncio.Event()
        self.validate_large = asyncio.Event()
        self.release = asyncio.Event()
        self.close = asyncio.Event()
        self.finalise = asyncio.Event()
        self.sweep = asyncio.Event()
        self.plans = asyncio.Event()
        # Batches whose plan somebody needed and did not find.
        self.plans_missing: set[str] = set()

    def submitted(self) -> None:
        self.validate_small.set()
        self.validate_large.set()

    def planned(self) -> None:
        self.release.set()

    def settled(self) -> None:
        """A chunk was committed or closed."""
        self.release.set()
        self.finalise.set()
        self.sweep.set()

    def plan_missing(self, batch_id: str) -> None:
        self.plans_missing.add(batch_id)
        self.plans.set()

    def cancelling(self) -> None:
        self.close.set()
        self.finalise.set()
