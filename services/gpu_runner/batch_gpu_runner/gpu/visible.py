"""Which GPUs a process sees: CUDA's reading of CUDA_VISIBLE_DEVICES."""

from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
_ORDER: Final = "CUDA_DEVICE_ORDER"


def named_devices(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The entries, in order: indices, UUIDs of GPUs (`GPU-…`, may be cut short) or of MIG devices
    (`MIG-…`). None: the variable is not set, and all GPUs are seen. Empty: none is.

    CUDA stops at the first entry that names nothing, such as -1.
    """
    text = environ.get(VARIABLE)
    if text is None:
        return None
    entries: list[str] = []
    for entry in (part.strip() for part in text.split(",")):
        if not (entry.isdecimal() or entry.startswith(("GPU-", "MIG-"))):
            break
        entries.append(entry)
    return tuple(entries)


def is_in_driver_order(environ: Mapping[str, str]) -> bool:
    """Whether CUDA counts GPUs as NVML does, by bus; else it puts the fastest first."""
    return environ.get(_ORDER) == "PCI_BUS_ID"


def by_prefix(uuids: list[str], entry: str) -> int | None:
    """The index of the one GPU whose UUID begins so; None where none does, or several do."""
    found = [at for at, uuid in enumerate(uuids) if uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None
