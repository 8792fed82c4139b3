"""A long run is two: on one NATS server, and then on three."""

from pathlib import Path
from typing import Final

import msgspec

from chaos.faults import faults_of
from chaos.run import Settings

# Of a run on both: the rest is on one server.
_CLUSTER_SHARE: Final = 0.2
# A node that was lost needs some seconds before the next one may be.
_CLUSTER_EVERY_S: Final = 2.6
# What a cluster is to be hit by besides its own losses; everything else strikes at one server.
_BESIDE_CLUSTER: Final = (
    "kill scheduler",
    "kill runner",
    "freeze runner",
    "kill gateway",
    "kill sinks",
)


def acts(whole: Settings, nats: str) -> list[Settings]:
    """`nats`: single, cluster or both. Each has a system and a folder of its own."""
    share = {"single": 0.0, "cluster": 1.0, "both": _CLUSTER_SHARE}[nats]
    in_cluster = whole.faults or (*faults_of("cluster"), *_BESIDE_CLUSTER)
    return [
        _act(whole, name, part, faults)
        for name, part, faults in (
            ("single", 1 - share, whole.faults),
            ("cluster", share, in_cluster),
        )
        if part
    ]


def _act(whole: Settings, nats: str, part: float, faults: tuple[str, ...]) -> Settings:
    folder: Path = whole.folder / nats
    every_s = whole.every_s or (_CLUSTER_EVERY_S if nats == "cluster" else 0.0)
    return msgspec.structs.replace(
        whole,
        folder=folder,
        seconds=whole.seconds * part,
        nats=nats,
        faults=faults,
        every_s=every_s,
    )
