"""Results as rows, and the settings that cannot work."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.config import Postgres, Sinks
from batch_common.errors import ConfigError
from batch_common.secret import Secret
from batch_sinks.json_line import decode_line
from batch_sinks.postgres.rows import COLUMNS, key_of, make_row
from batch_sinks.registry import make_sinks

METADATA = {"tenant": "acme", "model": "m"}


def row(**changes: object) -> dict[str, object]:
    result = {
        "custom_id": "r1",
        "request": {"body": {"model": "n", "messages": []}},
        "response": {"status_code": 200, "body": {"choices": [1]}},
        "error": None,
        **changes,
    }
    return dict(zip(COLUMNS, make_row("batch_1", result, METADATA), strict=True))  # type: ignore[arg-type]


def test_an_answer() -> None:
    assert row() == {
        "batch_id": "batch_1",
        "custom_id": "r1",
        "tenant": "acme",
        "model": "n",
        "status_code": 200,
        "request": '{"model":"n","messages":[]}',
        "response": '{"choices":[1]}',
        "error": None,
    }


def test_a_line_without_answer_and_request() -> None:
    error = {"code": "batch_expired", "message": "too late"}
    made = row(response=None, error=error, request=None)
    assert (made["model"], made["status_code"], made["request"], made["response"]) == (
        "m",
        None,
        None,
        None,
    )
    assert msgspec.json.decode(made["error"]) == error  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", ["\0", "\ud800", "a\0\udfffb"])
def test_what_postgres_stores_nowhere_is_replaced(bad: str) -> None:
    clean = bad.replace("\0", "\ufffd").replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    body = {bad: [{"x": bad}], "written": "\\u0000"}
    made = row(custom_id=bad, response={"status_code": 200, "body": body})
    assert str(made["custom_id"]).startswith(f"{clean}#")
    stored = json.loads(made["response"])  # type: ignore[arg-type]
    assert stored == {clean: [{"x": clean}], "written": "\\u0000"}


@pytest.mark.parametrize("custom_id", ["", "r1", "a#b", "ä…", "x" * 500, f"#{'0' * 32}", "a\ufffd"])
def test_a_custom_id_that_can_be_a_key_is_one(custom_id: str) -> None:
    assert key_of(custom_id) == custom_id


def test_custom_ids_that_look_alike_once_stored_have_different_keys() -> None:
    """U+FFFD stands for what Postgres refuses, and somebody may have written it himself."""
    ids = ["a\0", "a\ufffd", "a\ud800", "a\0\0", "x" * 600, "x" * 601, "x" * 500 + "…"]
    ids += [key_of(each) for each in ids if key_of(each) != each]
    ids += [key_of(each) for each in ids if key_of(each) != each]
    assert len(set(map(key_of, ids))) == len(set(ids))


CHARACTERS = st.sampled_from("a\0\ufffd\ud800…#0")


@given(st.lists(st.text(CHARACTERS, max_size=4), unique=True, max_size=20), st.integers(0, 3))
def test_keys_are_as_different_as_custom_ids(ids: list[str], times: int) -> None:
    """Also of ids that are keys of others."""
    known = {*ids}
    for _ in range(times):
        known |= {key_of(each) for each in known}
    keys = {key_of(each) for each in known}
    assert len(keys) == len(known)
    assert not any("\0" in key or "\ud800" in key for key in keys)


def test_lines_that_only_python_can_read() -> None:
    assert decode_line(b'{"a":"\\ud800","b":1e400}') == {"a": "\ud800", "b": float("inf")}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Postgres(), r"set result_handlers\.postgres\.url"),
        (Postgres(url=Secret("mysql://u:hunter2@h/d")), "postgresql://user:password@host"),
        (Postgres(url=Secret("postgresql://u:hunter2@h:port/d")), "postgresql://user:password"),
        (Postgres(url=Secret("postgresql://h/d"), table="a.b.c"), "is no table name"),
        (Postgres(url=Secret("postgresql://h/d"), table='x"; DROP TABLE y'), "is no table name"),
    ],
)
async def test_settings_that_cannot_work(settings: Postgres, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        make_sinks(Sinks(enabled=("postgres",), postgres=settings))
    assert "hunter2" not in str(raised.value)
