"""Where the services of one `up` show their metrics."""

import json

import pytest

from batch_cli.standalone.metrics_ports import addresses, metrics_ports, targets
from batch_common.config import Metrics
from batch_common.errors import ConfigError

SERVICES = ("scheduler", "gateway", "runner-1", "runner-2", "sinks")


def test_runners_come_last_so_that_the_others_keep_their_ports() -> None:
    one = metrics_ports(Metrics(port=9464), ("scheduler", "gateway", "runner", "sinks"))
    two = metrics_ports(Metrics(port=9464), SERVICES)
    first = {"scheduler": 9464, "gateway": 9465, "sinks": 9466}
    assert one == {**first, "runner": 9467}
    assert two == {**first, "runner-1": 9467, "runner-2": 9468}


def test_people_are_told_the_addresses() -> None:
    assert addresses("::", {"scheduler": 9464, "gateway": 9465}) == (
        "scheduler http://[::1]:9464/metrics, gateway http://[::1]:9465/metrics"
    )


def test_port_0_shows_nothing() -> None:
    assert metrics_ports(Metrics(), SERVICES) == {}


def test_a_port_without_room_after_it_is_refused() -> None:
    assert max(metrics_ports(Metrics(port=65_531), SERVICES).values()) == 65_535
    with pytest.raises(ConfigError, match="choose one below 65532"):
        metrics_ports(Metrics(port=65_532), SERVICES)


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],
)
def test_targets_are_jobs_by_service(host: str, reached: str) -> None:
    listed = json.loads(targets(host, {"gateway": 9465, "runner-2": 9468}))
    assert listed == [
        {"targets": [f"{reached}:9465"], "labels": {"job": "vllm-batch-gateway"}},
        {"targets": [f"{reached}:9468"], "labels": {"job": "vllm-batch-runner"}},
    ]
