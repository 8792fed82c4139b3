"""Every metric is declared with what its rise means, under the rules for names and labels."""

import re

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics_core import Metric

import metrics_page
from batch_common.metrics import Metrics, declared, show

DECLARED = {about.name: about for about in metrics_page.all_metrics()}
# The last words of names: units, or what is counted.
UNITS = (
    *("seconds", "bytes", "celsius", "watts", "hertz", "ratio", "info", "per_second"),
    *("requests", "tokens", "chunks", "batches", "events", "streams", "runners"),
    *("pending", "given_up"),
)
# They are what they are named after, not a number of it.
STATES = (
    *("nats_connected", "lease_held", "engine_up", "memory_steps"),
    *("gpu_health", "gpu_throttled", "gpu_ecc_errors"),
)
FORBIDDEN = {"tenant", "batch", "batch_id", "chunk", "request", "file", "key", "url", "endpoint"}


def registered() -> list[Metric]:
    return [each for each in REGISTRY.collect() if each.name.startswith("vllm_batch_")]


def test_every_registered_metric_is_declared_and_the_other_way_round() -> None:
    names = {
        each.name + ("_total" if each.type == "counter" else "")
        for each in registered()
        if not each.name.startswith("vllm_batch_test_")
    }
    assert names == {name for name in DECLARED if not name.startswith("vllm_batch_test_")}


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_names_end_in_a_unit_and_labels_are_bounded(name: str) -> None:
    about = DECLARED[name]
    assert re.fullmatch(r"vllm_batch_[a-z0-9_]+", name)
    if about.kind == "counter":
        assert name.endswith("_total")
    elif not name.endswith(tuple(STATES)):
        assert name.endswith(tuple(f"_{unit}" for unit in UNITS))
    assert not about.labels.keys() & FORBIDDEN
    assert about.rise
    for text in (about.what, about.rise):
        assert text.endswith(".")


def test_the_page_is_the_generated_one() -> None:
    assert metrics_page.PAGE.read_text("utf-8") == metrics_page.page()


def test_a_name_against_the_rules_is_refused() -> None:
    metrics = Metrics("test")
    with pytest.raises(ValueError, match="must end in _total"):
        metrics.counter("vllm_batch_test_things", "Things.", rise="More.")
    with pytest.raises(ValueError, match="no metric's name"):
        metrics.gauge("batch_test_Things", "Things.", rise="More.")
    assert "vllm_batch_test_things" not in {about.name for about in declared()}


def test_a_model_without_work_is_shown_with_0_and_one_without_batches_is_not_shown() -> None:
    gauge = Gauge("vllm_batch_test_shown_requests", "", ["model"], registry=None)

    def shown() -> dict[str, float]:
        [family] = gauge.collect()
        return {sample.labels["model"]: sample.value for sample in family.samples}

    show(gauge, {"a": 3.0, "b": 4.0})
    show(gauge, {"b": 5.0})
    assert shown() == {"a": 0.0, "b": 5.0}
    show(gauge, {"b": 6.0}, forget=True)
    assert shown() == {"b": 6.0}
