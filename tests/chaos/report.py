"""The figures of a run."""

from collections import Counter

import msgspec


class Strikes(msgspec.Struct, frozen=True):
    """One fault as it was. fired: how often; began, ended: Unix seconds; error: it went wrong."""

    kind: str
    began: float
    ended: float
    fired: int
    runners_hit: int
    error: str = ""


class Report(msgspec.Struct, kw_only=True):
    """recovery_s: for each strike with work left, until requests and the API were served again."""

    seed: int
    database: str
    seconds: float
    statuses: Counter[str]
    requests: int
    computed: int
    repeated: int
    repeats_allowed: int
    innocent: Counter[str]
    strikes: list[Strikes]
    recovery_s: list[tuple[float, str]]
    settled_s: float
    peaks_mib: dict[str, float]
    ended: list[str]
    violations: list[str]

    @property
    def fired(self) -> Counter[str]:
        """Firings by kind; a kind that was struck and never fired is there with 0."""
        found: Counter[str] = Counter()
        for strike in self.strikes:
            found[strike.kind] += strike.fired
        return found

    def text(self) -> str:
        share = self.repeated / max(1, self.computed)
        again = (
            f"{self.repeated} of {self.computed} ({share:.2%}), of {self.repeats_allowed} allowed"
        )
        worst = sorted(self.recovery_s, reverse=True)[:3]
        fired = self.fired
        lines = [
            f"chaos: {self.seconds:.0f} s on {self.database}, seed {self.seed}",
            f"  batches             {self.statuses.total()} ({_listed(self.statuses)})",
            f"  requests            {self.requests}",
            f"  computed again      {again}",
            f"  failed innocently   {self.innocent.total()} ({_listed(self.innocent)})",
            f"  faults              {fired.total()} of {len(fired)} kinds",
            *(f"    {kind:<28}{count:>5}" for kind, count in sorted(fired.items())),
            f"  worst recoveries    {', '.join(f'{s:.1f} s after {k}' for s, k in worst)}",
            f"  all ended           {self.settled_s:.1f} s after the last fault",
            "  peak memory         "
            + ", ".join(f"{role} {mib:.0f} MiB" for role, mib in self.peaks_mib.items()),
            f"  ended by themselves {len(self.ended)}",
            *(f"    {what}" for what in self.ended),
            f"  violations          {len(self.violations)}",
            *(f"    {what}" for what in self.violations[:50]),
        ]
        return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
