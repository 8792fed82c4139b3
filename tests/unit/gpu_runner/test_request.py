"""What an answer, or none, means for a request."""

import pytest

from batch_gpu_runner.engines.base import EngineAnswer, EngineConnectionError, EngineTimeoutError
from batch_gpu_runner.request import Policy, Result, Retry, decide, pause_s

POLICY = Policy(attempts=3, base_s=0.5, cap_s=30)
OK = b'{"id":"chatcmpl-1","usage":{"prompt_tokens":3,"completion_tokens":4}}'
API_ERROR = b'{"error":{"message":"no","type":"x","param":null,"code":null}}'


def test_an_answer_is_the_result() -> None:
    result = decide(EngineAnswer(200, OK), 1, POLICY)
    assert isinstance(result, Result)
    assert result.succeeded
    response = result.response("made-up")
    assert response is not None
    assert (response.status_code, response.request_id, bytes(response.body)) == (
        200,
        "chatcmpl-1",
        OK,
    )


def test_an_answer_without_an_id_gets_ours() -> None:
    result = decide(EngineAnswer(200, b'{"data":[]}'), 1, POLICY)
    assert isinstance(result, Result)
    response = result.response("batch_req_x_1")
    assert response is not None
    assert response.request_id == "batch_req_x_1"


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422])
def test_a_refusal_is_the_result_at_once(status: int) -> None:
    result = decide(EngineAnswer(status, API_ERROR), 1, POLICY)
    assert isinstance(result, Result)
    assert (result.succeeded, result.status, result.error) == (False, status, None)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again_and_then_shown(status: int) -> None:
    answer = EngineAnswer(status, API_ERROR)
    assert isinstance(decide(answer, 1, POLICY), Retry)
    assert isinstance(decide(answer, 2, POLICY), Retry)
    last = decide(answer, 3, POLICY)
    assert isinstance(last, Result)
    assert (last.succeeded, last.status, last.error) == (False, status, None)


@pytest.mark.parametrize(("status", "slows"), [(429, True), (503, True), (500, False)])
def test_only_overload_slows_the_others(status: int, slows: bool) -> None:
    decision = decide(EngineAnswer(status, API_ERROR), 1, POLICY)
    assert isinstance(decision, Retry)
    assert decision.slows is slows


def test_what_the_engine_asks_for_is_waited_for_within_reason() -> None:
    short = decide(EngineAnswer(429, API_ERROR, retry_after_s=7.0), 1, POLICY)
    long = decide(EngineAnswer(429, API_ERROR, retry_after_s=86400.0), 1, POLICY)
    assert isinstance(short, Retry)
    assert isinstance(long, Retry)
    assert (short.delay_s, long.delay_s) == (7.0, POLICY.longest_s)


def test_pauses_grow_to_the_cap() -> None:
    assert [pause_s(attempt, POLICY) for attempt in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert pause_s(50, POLICY) == 30


def test_no_answer_in_time_is_an_error_at_once() -> None:
    result = decide(EngineTimeoutError("no answer in 600 s"), 1, POLICY)
    assert isinstance(result, Result)
    assert result.error is not None
    assert result.error.code == "request_timeout"
    assert result.response("x") is None


def test_an_engine_that_is_not_reached_is_an_error_at_last() -> None:
    error = EngineConnectionError("refused")
    assert isinstance(decide(error, 1, POLICY), Retry)
    result = decide(error, 3, POLICY)
    assert isinstance(result, Result)
    assert result.error is not None
    assert result.error.code == "engine_error"
    assert "refused" in result.error.message


def test_a_proxys_page_is_tried_again_and_never_stands_in_a_result() -> None:
    page = EngineAnswer(200, b"<html>Bad gateway</html>")
    assert isinstance(decide(page, 1, POLICY), Retry)
    result = decide(page, 3, POLICY)
    assert isinstance(result, Result)
    assert not result.succeeded
    assert result.error is not None
    assert "Bad gateway" in result.error.message


def test_a_refusal_in_html_is_not_tried_again() -> None:
    result = decide(EngineAnswer(413, b"<html>too large</html>"), 1, POLICY)
    assert isinstance(result, Result)
    assert result.error is not None
    assert "413" in result.error.message
