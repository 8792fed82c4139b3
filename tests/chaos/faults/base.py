"""What a fault is."""

import random
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from chaos.system import System


class Fault:
    """One kind of fault; `kind` names it in schedules and figures.

    needs: features the system must have (`System.features`): "postgres", "cluster", …
    weight: how often it strikes, compared with the others
    runners_hit: of how many runners the requests in flight or not yet flushed may be computed
        again for each strike
    fails_requests: whether it may cost good requests their answer, so that they end as error lines
    """

    kind: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    weight: ClassVar[int] = 1
    runners_hit: ClassVar[int] = 2
    fails_requests: ClassVar[bool] = False

    async def prepare(self, system: "System") -> None:
        """Called once, when NATS and database run and no service does yet."""

    async def strike(self, system: "System", rng: random.Random) -> int:
        """Injects, and returns when it is over or has been undone. Every choice comes from `rng`.

        How often it verifiably fired; 0: it did not.
        """
        raise NotImplementedError

    async def finish(self, system: "System") -> None:
        """Called once, when every service has left."""
