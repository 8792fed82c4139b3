"""How long an engine asks us to wait."""

from batch_gpu_runner.engines.transport import retry_after_s


def test_seconds_and_milliseconds() -> None:
    assert retry_after_s({"retry-after": "3"}) == 3.0
    assert retry_after_s({"retry-after": "0.5"}) == 0.5
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25


def test_a_date() -> None:
    assert retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, now_s=60.0) == 40.0
    assert retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, now_s=60.0) == 0.0


def test_nothing_and_nonsense() -> None:
    assert retry_after_s({}) is None
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"retry-after-ms": "soon"}) is None
    assert retry_after_s({"retry-after": "-5"}) == 0.0
    assert retry_after_s({"retry-after": "inf"}) is None
