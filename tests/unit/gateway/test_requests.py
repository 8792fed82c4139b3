"""What a client may send as JSON, and the words it is refused with."""

import json
from typing import Any

import pytest

from batch_common.completion_window import parse_windows
from batch_common.config import Limits
from batch_common.config_file import parse_config
from batch_common.errors import ConfigError
from batch_gateway.batch_request import parse_batch_request
from batch_gateway.errors import ApiError
from batch_gateway.expiry import parse_form_expiry
from batch_gateway.purposes import plain_name
from batch_gateway.uploads import parse_declared

GOOD: dict[str, Any] = {
    "input_file_id": "file-x",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
WINDOWS = parse_windows(("24h", "30m", "7d"))


def refusal(**changes: Any) -> tuple[int, str, str | None, str | None]:
    body = {key: value for key, value in {**GOOD, **changes}.items() if value != "ABSENT"}
    with pytest.raises(ApiError) as caught:
        parse_batch_request(json.dumps(body).encode(), WINDOWS)
    error = caught.value
    return error.status, error.detail.message, error.detail.param, error.detail.code


def test_a_batch_request() -> None:
    found = parse_batch_request(json.dumps({**GOOD, "unknown": 1}).encode(), WINDOWS)
    assert (found.window_s, found.metadata, found.output_expires_after_s) == (86400, None, None)


def test_everything_optional() -> None:
    body = {
        **GOOD,
        "completion_window": "30m",
        "metadata": {f"k{n}": "v" * 512 for n in range(15)} | {"k" * 64: ""},
        "output_expires_after": {"anchor": "created_at", "seconds": 3600},
    }
    found = parse_batch_request(json.dumps(body).encode(), WINDOWS)
    assert found.window_s == 1800
    assert found.metadata == body["metadata"]
    assert found.output_expires_after_s == 3600


@pytest.mark.parametrize("name", ["input_file_id", "endpoint", "completion_window"])
def test_a_missing_field(name: str) -> None:
    message = f"Missing required parameter: '{name}'."
    assert refusal(**{name: "ABSENT"}) == (400, message, name, "missing_required_parameter")


@pytest.mark.parametrize(
    ("changes", "param", "code", "text"),
    [
        ({"endpoint": "/v1/x"}, "endpoint", "invalid_value", "Invalid value: '/v1/x'. Supported"),
        ({"endpoint": None}, "endpoint", "invalid_type", "expected a string, but got null"),
        ({"completion_window": "5h"}, "completion_window", "invalid_value", "completion_window"),
        ({"input_file_id": 7}, "input_file_id", "invalid_type", "but got an integer instead"),
        ({"input_file_id": "a\0b"}, "input_file_id", "invalid_value", "NUL"),
        ({"metadata": "x"}, "metadata", "invalid_type", "expected an object, but got a string"),
        (
            {"metadata": {"k": ["v"]}},
            "metadata.k",
            "invalid_type",
            "Invalid type for 'metadata.k': expected a string, but got an array instead.",
        ),
        ({"metadata": {"k": 1.5}}, "metadata.k", "invalid_type", "a decimal"),
        ({"metadata": {"k": True}}, "metadata.k", "invalid_type", "a boolean"),
        ({"metadata": {"k": {}}}, "metadata.k", "invalid_type", "an object"),
        ({"metadata": {"k": "a\0"}}, "metadata.k", "invalid_value", "NUL"),
        (
            {"metadata": {str(n): "" for n in range(17)}},
            "metadata",
            "object_above_max_properties",
            "at most 16",
        ),
        ({"metadata": {"k" * 65: ""}}, "metadata", "property_name_above_max_length", "at most 64"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length", "at most 512"),
        (
            {"output_expires_after": {"anchor": "now", "seconds": 3600}},
            "output_expires_after.anchor",
            "invalid_value",
            "'created_at'",
        ),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 3599}},
            "output_expires_after.seconds",
            "invalid_value",
            "between 3600 and 2592000",
        ),
        (
            {"output_expires_after": {"anchor": "created_at"}},
            "output_expires_after.seconds",
            "missing_required_parameter",
            "Missing required parameter",
        ),
    ],
)
def test_a_wrong_value(changes: dict[str, Any], param: str, code: str, text: str) -> None:
    status, message, found_param, found_code = refusal(**changes)
    assert (status, found_param, found_code) == (400, param, code)
    assert text in message


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 5000])
def test_a_body_that_is_no_object(raw: bytes) -> None:
    with pytest.raises(ApiError, match="The body of the request") as caught:
        parse_batch_request(raw, WINDOWS)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["24", "h", "0h", "1w", "24 h", ""])
def test_a_window_that_is_no_time_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"limits\.completion_windows") as raised:
        parse_config({"limits": {"completion_windows": [name]}}, "config.yml")
    assert "30m, 24h or 7d" in str(raised.value)


def test_without_any_window_no_batch_could_be_created() -> None:
    with pytest.raises(ConfigError, match="is empty"):
        parse_config({"limits": {"completion_windows": []}}, "config.yml")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a.jsonl", "a.jsonl"),
        ("x" * 300 + ".jsonl", "x" * 249 + ".jsonl"),
        ("x" * 300, "x" * 255),
        ("x." + "y" * 300, "x." + "y" * 237 + "." + "y" * 15),
        ("a\\b/../c\n.jsonl", "c.jsonl"),
        ("", "upload"),
        (None, "upload"),
    ],
)
def test_names_of_files(given: str | None, shown: str) -> None:
    assert plain_name(given) == shown


def test_form_expiry() -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    assert parse_form_expiry(fields) == 3600
    assert parse_form_expiry({}) is None
    for wrong in ({"expires_after[seconds]": "soon"}, {"expires_after[anchor]": "now"}):
        with pytest.raises(ApiError):
            parse_form_expiry({**fields, **wrong})
    with pytest.raises(ApiError, match=r"Missing required parameter: 'expires_after.anchor'"):
        parse_form_expiry({"expires_after[seconds]": "3600"})


UPLOAD: dict[str, Any] = {
    "bytes": 10,
    "filename": "a.jsonl",
    "mime_type": "application/jsonl",
    "purpose": "batch",
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bytes": -1}, "negative"),
        ({"bytes": 10.0}, "a decimal"),
        ({"bytes": True}, "a boolean"),
        ({"bytes": (8 << 30) + 1}, "File is too large."),
        ({"filename": "a.csv"}, "Invalid file format for Batch API. Must be .jsonl"),
        ({"purpose": "parrot"}, "'parrot' is not one of"),
        ({"mime_type": None}, "'mime_type'"),
    ],
)
def test_an_upload_that_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ApiError, match=text):
        parse_declared(json.dumps({**UPLOAD, **changes}).encode(), Limits())


def test_an_upload_names_no_path() -> None:
    body = {**UPLOAD, "filename": "../../etc/C:\\x\\evil\n.jsonl"}
    assert parse_declared(json.dumps(body).encode(), Limits()).filename == "evil.jsonl"
