"""How many examples hypothesis tries: the same ones each time, or ever more of them.

`HYPOTHESIS_PROFILE=thorough` tries fifty times as many, other ones in each run;
`HYPOTHESIS_PROFILE=verdict` the usual ones, but looks for no smaller one once an example failed.
"""

import os
from datetime import timedelta
from typing import Final

from hypothesis import HealthCheck, Phase, settings

_PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "same")
_THOROUGH: Final = _PROFILE == "thorough"
_TIMES: Final = 50 if _THOROUGH else 1
# Of a test whose examples are slow.
TIMEOUT_S: Final = 600 * _TIMES


def load() -> None:
    """For every test that does not say otherwise. A busy machine is no reason to fail."""
    settings.register_profile("same", derandomize=True, deadline=None, database=None)
    settings.register_profile(
        "thorough", deadline=timedelta(minutes=1), database=None, max_examples=100 * _TIMES
    )
    settings.register_profile(
        "verdict", settings.get_profile("same"), phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile(_PROFILE)


def examples(count: int, **more: object) -> settings:
    """For one test: `count` in CI."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=count * _TIMES, suppress_health_check=slow, **more)  # type: ignore[arg-type]
