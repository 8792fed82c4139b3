"""From a seed to what strikes when: pure data."""

import random
from collections.abc import Mapping

import msgspec

FIRST_S = 3.0


class Strike(msgspec.Struct, frozen=True):
    """at_s: after the system serves; seed: of every choice that the fault makes."""

    at_s: float
    kind: str
    seed: int


def plan_strikes(
    seed: int, seconds: float, weights: Mapping[str, int], every_s: float
) -> tuple[Strike, ...]:
    """Every kind in turn, in an order that is drawn anew each time round."""
    rng = random.Random(f"strikes of {seed}")
    found: list[Strike] = []
    bag: list[str] = []
    at_s = FIRST_S
    while at_s < seconds and weights:
        if not bag:
            bag = [kind for kind, weight in weights.items() for _ in range(weight)]
            rng.shuffle(bag)
        found.append(Strike(round(at_s, 2), bag.pop(), rng.getrandbits(32)))
        at_s += every_s * rng.uniform(0.4, 1.6)
    return tuple(found)
