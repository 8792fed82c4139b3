"""The figures of a run."""

from collections import Counter
from collections.abc import Sequence

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
        """Strikes that fired, by kind; a kind that never did is there with 0."""
        found: Counter[str] = Counter()
        for strike in self.strikes:
            found[strike.kind] += bool(strike.fired)
        return found

    def text(self) -> str:
        share = self.repeated / max(1, self.computed)
        again = (
            f"{self.repeated} of {self.computed} ({share:.2%}), of {self.repeats_allowed} allowed"
        )
        worst = sorted(self.recovery_s, reverse=True)[:3]
        fired, times = self.fired, Counter[str]()
        for strike in self.strikes:
            times[strike.kind] += strike.fired
        least = min(fired.values(), default=0)
        lines = [
            f"chaos: {self.seconds:.0f} s on {self.database}, seed {self.seed}",
            f"  batches             {self.statuses.total()} ({_listed(self.statuses)})",
            f"  requests            {self.requests}",
            f"  computed again      {again}",
            f"  failed innocently   {self.innocent.total()} ({_listed(self.innocent)})",
            f"  faults              {fired.total()}, of {len(fired)} kinds, {least} or more each",
            *(
                f"    {kind:<28}{count:>5}, {times[kind]} times"
                for kind, count in sorted(fired.items())
            ),
            f"  worst recoveries    {', '.join(f'{s:.1f} s after {k}' for s, k in worst)}",
            f"  all ended           {self.settled_s:.1f} s after the last fault",
            "  peak memory         "
            + ", ".join(f"{role} {mib:.0f} MiB" for role, mib in self.peaks_mib.items()),
            f"  ended by themselves {len(self.ended)}",
            *(f"    {count} x {what[:150]}" for what, count in Counter(self.ended).most_common()),
            f"  violations          {len(self.violations)}",
            *(f"    {what}" for what in self.violations[:50]),
        ]
        return "\n".join(lines)


def summary(reports: Sequence[Report]) -> str:
    """One paragraph for all acts of a run."""
    fired: Counter[str] = Counter()
    for report in reports:
        fired += report.fired
    repeated = sum(report.repeated for report in reports)
    computed = sum(report.computed for report in reports)
    recoveries = [found for report in reports for found in report.recovery_s]
    worst_s, after = max(recoveries, default=(0.0, "nothing"))
    silent = {kind for report in reports for kind, count in report.fired.items() if not count}
    return (
        f"in all: {sum(report.statuses.total() for report in reports)} batches, "
        f"{sum(report.requests for report in reports)} requests, {fired.total()} faults of "
        f"{len(fired)} kinds ({min(fired.values(), default=0)} or more of each), "
        f"{repeated} of {computed} requests computed again ({repeated / max(1, computed):.2%}), "
        f"worst recovery {worst_s:.1f} s after {after}, "
        f"{sum(len(report.violations) for report in reports)} violations"
        + (f"; never fired: {', '.join(sorted(silent))}" if silent else "")
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
