"""Whose turn it is."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from batch_scheduler.fairness import QUANTUM, Account, Ring, charge, most_urgent, turn


class Batch(msgspec.Struct, frozen=True):
    tenant: str
    deadline: int
    batch_id: str


def served(costs: dict[str, int], rounds: int) -> Counter[str]:
    """Tokens each tenant got when its every chunk costs so much."""
    ring: Ring = ()
    spent: Counter[str] = Counter()
    for _ in range(rounds):
        ring = turn(ring, costs)
        tenant = ring[0].tenant
        spent[tenant] += costs[tenant]
        ring = charge(ring, costs[tenant])
    return spent


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3 * QUANTUM), min_size=2),
)
def test_tenants_get_equal_tokens_whatever_their_chunks_cost(costs: dict[str, int]) -> None:
    rounds = 4 * QUANTUM // min(costs.values()) + 50
    spent = served(costs, min(rounds, 3000))
    if rounds <= 3000:
        apart = max(spent[t] for t in costs) - min(spent[t] for t in costs)
        assert apart <= 2 * (QUANTUM + max(costs.values()))


def test_a_tenant_alone_is_always_served() -> None:
    assert served({"a": 10 * QUANTUM}, 5) == {"a": 50 * QUANTUM}


def test_a_deep_debt_is_paid_off_at_once_when_everybody_owes() -> None:
    ring = turn((Account("a", -(10**12)), Account("b", -(10**12) + 1)), ["a", "b"])
    assert ring[0].balance > 0


def test_who_has_nothing_waiting_keeps_no_claim() -> None:
    ring = turn((Account("a", QUANTUM), Account("b", -QUANTUM)), ["b", "c"])
    assert {account.tenant for account in ring} == {"b", "c"}
    assert ring[0].tenant == "c"


def test_within_a_tenant_the_first_to_expire_goes_first() -> None:
    waiting = [Batch("a", 9, "b1"), Batch("a", 5, "b3"), Batch("a", 5, "b2"), Batch("z", 1, "b0")]
    assert most_urgent(waiting, "a").batch_id == "b2"
