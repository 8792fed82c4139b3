"""Prometheus metrics as this project declares them: each with what its rise means.

docs/METRICS.md is made of these declarations. No tenant and no id is ever a label, and what a
label may be is known beforehand: each combination of labels is a time series that is kept.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final, Literal

import msgspec
from prometheus_client import Counter, Gauge, Histogram

Labels = Mapping[str, str]

_NAME: Final = re.compile(r"vllm_batch_[a-z][a-z0-9_]*[a-z0-9]")
_NONE: Final[Labels] = {}
BY_MODEL: Final[Labels] = {"model": "as requests name it"}


class About(msgspec.Struct, frozen=True, kw_only=True):
    """One metric, for people.

    name: as Prometheus stores it; of a histogram without `_bucket`, `_sum` and `_count`
    rise: what it means when the value, or a counter's rate, rises
    labels: what each of them may be
    shown_by: the service that has it
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    what: str
    rise: str
    labels: Labels
    shown_by: str


_declared: dict[str, About] = {}


def declared() -> tuple[About, ...]:
    """Those of all modules that were imported so far, in the order in which they were declared."""
    return tuple(_declared.values())


class Metrics:
    """Declares the metrics of one service. Raises ValueError for a name that breaks the rules."""

    def __init__(self, shown_by: str) -> None:
        self._shown_by = shown_by

    def counter(self, name: str, what: str, *, rise: str, labels: Labels = _NONE) -> Counter:
        """`name` ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"the counter {name} must end in _total")
        self._declare("counter", name, what, rise, labels)
        return Counter(name, what, list(labels))

    def gauge(self, name: str, what: str, *, rise: str, labels: Labels = _NONE) -> Gauge:
        """`name` ends in the unit, or in what is counted."""
        self._declare("gauge", name, what, rise, labels)
        return Gauge(name, what, list(labels))

    def histogram(
        self,
        name: str,
        what: str,
        *,
        rise: str,
        buckets: Sequence[float],
        labels: Labels = _NONE,
    ) -> Histogram:
        """`name` ends in the unit; `buckets` are upper bounds in it."""
        self._declare("histogram", name, what, rise, labels)
        return Histogram(name, what, list(labels), buckets=buckets)

    def _declare(
        self,
        kind: Literal["counter", "gauge", "histogram"],
        name: str,
        what: str,
        rise: str,
        labels: Labels,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name} is no metric's name: vllm_batch_, then a-z, 0-9 and _")
        _declared[name] = About(
            name=name, kind=kind, what=what, rise=rise, labels=labels, shown_by=self._shown_by
        )


def begin_at_0(counter: Counter, *labels: Sequence[str]) -> None:
    """Every combination of these values, one sequence for each label.

    A counter that appears with its first event shows no increase to Prometheus.
    """
    for values in product(*labels):
        counter.labels(*values)


def show(gauge: Gauge, values: Mapping[str, float], *, forget: bool = False) -> None:
    """Sets a gauge of one label to these values, and to 0 where it had another one before.

    With `forget` those others are removed: where 0 would say something that is not so.
    """
    [family] = gauge.collect()
    shown = {value for sample in family.samples for value in sample.labels.values()}
    for label, value in values.items():
        gauge.labels(label).set(value)
    for label in shown - values.keys():
        if forget:
            gauge.remove(label)
        else:
            gauge.labels(label).set(0)
