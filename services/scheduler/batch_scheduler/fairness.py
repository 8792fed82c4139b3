"""Whose turn it is: tenants by deficit round robin in tokens, their batches by deadline. Pure.

What a turn costs is known only once the chunk is cut, so a tenant is charged afterwards and may
end a turn in debt, which the next rounds pay off (surplus round robin).
"""

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

import msgspec

# Tokens a tenant may spend each time the turn comes to it.
QUANTUM: Final = 100_000


class Account(msgspec.Struct, frozen=True):
    tenant: str
    # Tokens left of its turn; below zero it owes.
    balance: int = 0


Ring = tuple[Account, ...]
"""The tenant whose turn it is stands first."""


def turn(ring: Ring, waiting: Iterable[str]) -> Ring:
    """The ring with the tenant to serve in front; only tenants in `waiting` (not empty) stay.

    Who comes anew joins at the end with nothing; who has nothing waiting keeps no claim.
    """
    names = sorted(set(waiting))
    kept = [account for account in ring if account.tenant in names]
    fresh = sorted(set(names) - {account.tenant for account in kept})
    members = _after_idle_rounds([*kept, *map(Account, fresh)])
    while members[0].balance <= 0:
        head = members.pop(0)
        members.append(Account(head.tenant, head.balance + QUANTUM))
    return tuple(members)


def _after_idle_rounds(members: list[Account]) -> list[Account]:
    """Rounds in which everybody is still in debt, all at once."""
    highest = max(account.balance for account in members)
    rounds = max(0, -highest // QUANTUM)
    return [Account(a.tenant, a.balance + rounds * QUANTUM) for a in members]


def charge(ring: Ring, tokens: int) -> Ring:
    """After the tenant in front was served."""
    head, *others = ring
    return (Account(head.tenant, head.balance - tokens), *others)


class Dated(Protocol):
    """A batch that waits. `deadline` in Unix seconds."""

    @property
    def tenant(self) -> str: ...
    @property
    def deadline(self) -> int: ...
    @property
    def batch_id(self) -> str: ...


Waiting = TypeVar("Waiting", bound=Dated)


def most_urgent(waiting: Iterable[Waiting], tenant: str) -> Waiting:
    """Of the tenant's, the one that expires first; of those the one that was created first."""
    own = (one for one in waiting if one.tenant == tenant)
    return min(own, key=lambda one: (one.deadline, one.batch_id))
