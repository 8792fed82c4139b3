"""Every kind of fault. A module of this package lists its own in `FAULTS`."""

import importlib
import pkgutil
from collections.abc import Collection

from chaos.faults.base import Fault


def all_faults() -> dict[str, Fault]:
    """By kind, in a fixed order: schedules are drawn from it."""
    found: dict[str, Fault] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for fault in getattr(importlib.import_module(f"{__name__}.{module}"), "FAULTS", ()):
            assert fault.kind not in found, f"two faults are called {fault.kind!r}"
            found[fault.kind] = fault
    return found


def faults_for(features: Collection[str], kinds: Collection[str] = ()) -> dict[str, Fault]:
    """Those that a system with these features can suffer; only `kinds` where some are named."""
    known = all_faults()
    if unknown := set(kinds) - known.keys():
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are: {list(known)}")
    return {
        kind: fault
        for kind, fault in known.items()
        if fault.needs <= set(features) and (not kinds or kind in kinds)
    }


def faults_of(feature: str) -> list[str]:
    """The kinds that need it."""
    return [kind for kind, fault in all_faults().items() if feature in fault.needs]


def kinds_in(*modules: str) -> list[str]:
    """Those that these modules of the package list."""
    return [
        fault.kind
        for module in modules
        for fault in importlib.import_module(f"{__name__}.{module}").FAULTS
    ]
