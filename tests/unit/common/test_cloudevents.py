"""CloudEvents attributes as headers, and trace context."""

import re

from batch_common.cloudevents import headers, new_traceparent


def test_the_attributes_of_binary_mode() -> None:
    assert headers("evt_1", "batch.submitted", "gateway", 1700000000.5, "00-a-b-01") == {
        "ce-specversion": "1.0",
        "ce-id": "evt_1",
        "ce-type": "batch.submitted",
        "ce-source": "/vllm-batch/gateway",
        "ce-time": "2023-11-14T22:13:20.500000+00:00",
        "content-type": "application/json",
        "traceparent": "00-a-b-01",
    }


def test_without_a_trace_there_is_no_header() -> None:
    assert "traceparent" not in headers("evt_1", "t", "s", 0.0, None)


def test_a_new_trace_is_a_w3c_traceparent() -> None:
    made = {new_traceparent() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace) for trace in made)
