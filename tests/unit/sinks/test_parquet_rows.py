"""One result as a row of a Parquet file, whatever endpoint it came from."""

from typing import Any

import pyarrow as pa
import pytest

from batch_common.config import S3
from batch_common.errors import ConfigError
from batch_sinks.handler import BatchMetadata
from batch_sinks.s3 import handler
from batch_sinks.s3.handler import S3Handler
from batch_sinks.s3.parquet import COLUMNS, make_row

ABOUT: Any = {"model": None, "tenant": "t"}


def row(body: Any, status: int = 200, **more: Any) -> dict[str, Any]:
    result = {
        "custom_id": "r1",
        "request": {"body": {"model": "m", "n": 1}},
        "response": {"status_code": status, "body": body},
        "error": None,
        **more,
    }
    about: BatchMetadata = ABOUT
    made = make_row("batch_1", result, about)
    [read] = pa.Table.from_pylist([made], schema=COLUMNS).to_pylist()
    assert read == made
    return read


def test_a_chat() -> None:
    body = {
        "choices": [{"message": {"content": "hi"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    assert row(body) == {
        "batch_id": "batch_1",
        "custom_id": "r1",
        "model": "m",
        "status_code": 200,
        "answer": "hi",
        "answer_valid": None,
        "error_code": None,
        "error_message": None,
        "input_tokens": 5,
        "output_tokens": 2,
        "request": '{"model":"m","n":1}',
        "response": '{"choices":[{"message":{"content":"hi"}}],'
        '"usage":{"prompt_tokens":5,"completion_tokens":2}}',
    }


def test_other_endpoints() -> None:
    assert row({"choices": [{"text": "on"}]})["answer"] == "on"
    part = {"type": "output_text", "text": "so"}
    output = [{"type": "reasoning"}, {"type": "message", "content": [part, part]}]
    found = row({"output": output, "usage": {"input_tokens": 7, "output_tokens": 1}})
    assert (found["answer"], found["input_tokens"], found["output_tokens"]) == ("soso", 7, 1)
    embedding = row({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3}})
    assert (embedding["answer"], embedding["input_tokens"]) == (None, 3)


def test_what_failed() -> None:
    refused = row({"error": {"code": 400, "message": "no such role"}}, status=400)
    assert (refused["status_code"], refused["error_code"], refused["error_message"]) == (
        *(400, "400", "no such role"),
    )
    error = {"code": "batch_expired", "message": "too late"}
    lost = row(None, request=None, response=None, error=error)
    assert (lost["model"], lost["status_code"], lost["error_code"]) == (None, None, "batch_expired")
    assert (lost["request"], lost["response"], lost["answer"]) == (None, None, None)


@pytest.mark.parametrize("body", [[], "text", {"usage": 1}, {"error": "x"}, {"choices": [None]}])
def test_bodies_of_another_shape(body: Any) -> None:
    assert (row(body)["answer"], row(body)["input_tokens"]) == (None, None)


def test_what_parquet_cannot_hold() -> None:
    found = row(
        {"choices": [{"text": "a\ud800b"}], "usage": {"prompt_tokens": 1 << 70}},
        custom_id="c\udfff",
        schema={"valid": False},
    )
    assert (found["answer"], found["custom_id"]) == ("a\ufffdb", "c\ufffd")
    assert (found["input_tokens"], found["answer_valid"]) == (None, False)


def test_without_pyarrow_it_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "find_spec", lambda _: None)
    S3Handler(S3(bucket="b"))
    with pytest.raises(ConfigError, match=r"pip install 'vllm-batch-server\[parquet\]'"):
        S3Handler(S3(bucket="b", parquet=True))


@pytest.mark.parametrize("count", [True, -1, 1 << 63, 10**400, 2.5, "7", None])
def test_what_is_no_count_of_tokens(count: Any) -> None:
    found = row({"usage": {"prompt_tokens": count, "completion_tokens": (1 << 63) - 1}})
    assert (found["input_tokens"], found["output_tokens"]) == (None, (1 << 63) - 1)
