"""Bodies that may stand in a result line, and what they cost."""

import msgspec
import pytest

from batch_common.formats.usage import Usage
from batch_gpu_runner.answer import check_body


def usage(body: bytes) -> Usage | None:
    checked = check_body(body)
    assert checked is not None
    return checked.usage


def test_chat_usage() -> None:
    assert usage(
        b'{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        b'"prompt_tokens_details":{"cached_tokens":8},'
        b'"completion_tokens_details":{"reasoning_tokens":2}}}'
    ) == Usage(10, 8, 5, 2)


def test_responses_usage() -> None:
    assert usage(
        b'{"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":8},'
        b'"output_tokens":5,"output_tokens_details":{"reasoning_tokens":2}}}'
    ) == Usage(10, 8, 5, 2)


def test_nulls_and_absences_count_nothing() -> None:
    assert usage(b'{"usage":{"prompt_tokens":4,"prompt_tokens_details":null}}') == Usage(4)
    assert usage(b'{"usage":null}') is None
    assert usage(b"{}") is None


def test_a_body_of_another_shape_passes_as_it_is() -> None:
    body = b'{"id":7,"usage":"much"}'
    checked = check_body(body)
    assert checked is not None
    assert (checked.id, checked.usage, bytes(checked.body)) == (None, None, body)


def test_a_pretty_printed_body_is_put_on_one_line() -> None:
    checked = check_body(b'{\r\n  "id": "a",\n  "n": 12345678901234567890.10,\n  "t": "x\\ny"\n}\n')
    assert checked is not None
    assert bytes(checked.body) == b'{"id":"a","n":12345678901234567890.10,"t":"x\\ny"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'{"id":"a"',
        b'{"id":"a"} {"id":"b"}',
        b'{"text":"\xff"}',
        b'{"text":"a\nb"}',
        b"[]",
        b"null",
        b'"text"',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_what_would_corrupt_a_line_is_refused(body: bytes) -> None:
    assert check_body(body) is None


def test_the_result_is_still_valid_json() -> None:
    checked = check_body('{"text":"größer ☃ \\u2028"}'.encode())
    assert checked is not None
    assert msgspec.json.decode(checked.body) == {"text": "größer ☃ \u2028"}
