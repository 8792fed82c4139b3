"""Writes docs/METRICS.md from the declarations of every metric.

python scripts/metrics_page.py [--check]
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from batch_common.metrics import About, declared

PAGE = Path(__file__).parents[1] / "docs" / "METRICS.md"
# Everything that declares metrics, in the order of the page.
MODULES = (
    "batch_common.process_metrics",
    "batch_gateway.metrics",
    "batch_scheduler.metrics",
    "batch_gpu_runner.metrics",
    "batch_gpu_runner.gpu.metrics",
    "batch_sinks.metrics",
)
HEAD = """\
# Metrics

Every service shows its metrics to [Prometheus](https://prometheus.io) on a port of its own, once
`metrics.port` is set ([CONFIGURATION](CONFIGURATION.md#metrics)). Nothing is measured per request:
what requests do is counted when their results are saved.

## On one machine

```console
$ vllm-batch up --model Qwen/Qwen3-4B --metrics-port 9464
```

The scheduler's metrics are then on port 9464, the gateway's on 9465, the sinks' on 9466, and the
runners' on 9467 and after. `run/prometheus.json` in the data folder lists them as Prometheus reads
them. [`monitoring/`](../monitoring/README.md) holds a ready configuration, recording and alert
rules, and dashboards for Grafana; [OPERATIONS](OPERATIONS.md) says what to do at each alert.

## On several

Services that have a machine or a container of their own may all use the same port:

```yaml
metrics:
  host: 0.0.0.0     # within a network of your own: metrics ask for no key
  port: 9464
```

## For autoscalers

`vllm_batch_pending_requests` and `vllm_batch_released_requests`, by model, are the work that is
there; 0 once it is done, so that a model's runners may go down to none. Every scheduler shows both,
a standby too: take the maximum, not the sum. `monitoring/rules/recording.yml` has them ready:

| | |
|---|---|
| `vllm_batch:backlog_requests` | requests without a result, by model |
| `vllm_batch:backlog_seconds` | how long they take at the rate of the runners there are, by model |

For [KEDA](https://keda.sh), a runner for each 5,000 requests of the backlog, none without work, at
most eight:

```yaml
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: runner-qwen3-4b
spec:
  scaleTargetRef:
    name: runner-qwen3-4b        # a Deployment of `vllm-batch runner`
  minReplicaCount: 0
  maxReplicaCount: 8
  cooldownPeriod: 600            # an engine takes minutes to load its model
  triggers:
    - type: prometheus
      metadata:
        serverAddress: http://prometheus:9090
        query: max(vllm_batch:backlog_requests{model="Qwen/Qwen3-4B"})
        threshold: "5000"
        activationThreshold: "0"
```

A runner that is taken away hands its chunks back and loses no result; give it
`terminationGracePeriodSeconds: 60`. With work and no runner one runner's share of chunks is
released, so the backlog shows before a runner is there. The first request for a model that no
runner has ever announced needs the model's name in `models:`
([CONFIGURATION](CONFIGURATION.md#top-level)).

## All of them

A counter's rate is what to look at: `rate(NAME[5m])`. A histogram has `NAME_bucket`, `NAME_sum` and
`NAME_count`: `histogram_quantile(0.95, sum by (le) (rate(NAME_bucket[5m])))`. No tenant and no id
of a batch is a label. Python's own `process_*` metrics (CPU, memory, open files) stand beside these
in every service. Made by `scripts/metrics_page.py` from the declarations in the code.
"""


def all_metrics() -> tuple[About, ...]:
    """Every declaration there is, in an order that no order of imports changes."""
    for module in MODULES:
        importlib.import_module(module)
    places = ("every service", "gateway", "scheduler", "scheduler that holds the lease", "runner")
    order = {place: number for number, place in enumerate(places)}
    return tuple(
        sorted(declared(), key=lambda each: (order.get(each.shown_by, 9), each.shown_by, each.name))
    )


def page() -> str:
    return HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    for place, metrics in groupby(all_metrics(), key=lambda each: each.shown_by):
        yield f"\n### {place[0].upper()}{place[1:]}\n"
        for each in metrics:
            yield _entry(each)


def _entry(about: About) -> str:
    labels = "".join(f"- `{name}`: {what}\n" for name, what in about.labels.items())
    lines = [
        f"\n#### `{about.name}`\n\n",
        f"{about.kind.capitalize()}. {about.what}\n\n",
        f"{labels}\n" if labels else "",
        f"*A rise:* {about.rise}\n",
    ]
    return "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is out of date")
    if not parser.parse_args().check:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/METRICS.md is out of date: run python scripts/metrics_page.py")


if __name__ == "__main__":
    main()
