"""Lines that Python can hardly hold: each is read all the same, for it must not stop its batch."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.task_schema import TaskSchema
from batch_sinks.answer_check import AnswerCheck
from batch_sinks.json_line import MAX_LEVELS, decode_line, is_shallow
from batch_sinks.label_studio.tasks import default_schema, make_task
from batch_sinks.postgres.rows import make_row
from batch_sinks.s3 import parquet
from batch_sinks.storable import storable, storable_json

DIGITS = "9" * 5000
ABOUT: Any = {"tenant": "t", "model": "m"}
DEEP = st.recursive(
    st.text('[]{}\\"a\0\ud800\U0001f600', max_size=4) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[}\\"b'), inner),
)


def nested(levels: int, core: str) -> str:
    return "[" * levels + core + "]" * levels


def levels_of(value: Any) -> tuple[int, Any]:
    """And what is in the innermost list."""
    levels = 0
    while isinstance(value, list):
        levels, value = levels + 1, value[0]
    return levels, value


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_more_digits_than_python_reads_is_text(sign: str) -> None:
    line = f'{{"a": {sign}{DIGITS}, "b": 1e400, "c": {sign}{DIGITS[:4300]}}}'.encode()
    assert decode_line(line) == {
        "a": sign + DIGITS,
        "b": float("inf"),
        "c": int(sign + DIGITS[:4300]),
    }


@pytest.mark.parametrize("levels", [MAX_LEVELS, 400, 5000, 100_000])
def test_what_is_nested_too_deeply_is_text(levels: int) -> None:
    core = r'"\u0000 ]}\" é"'
    line = f'{{"a": {nested(levels, core)}, "b": {{"c": 1}}}}'.encode()
    decoded = decode_line(line)
    kept, rest = levels_of(decoded["a"])
    assert (kept, decoded["b"]) == (MAX_LEVELS - 1, {"c": 1})
    assert rest == nested(levels - MAX_LEVELS + 1, core)
    assert b"ufffd" not in storable_json(decoded)
    assert "\0" not in storable_json(decoded).decode()


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"a":'])
def test_levels_are_counted_exactly(opened: str) -> None:
    for levels, fits in ((MAX_LEVELS, True), (MAX_LEVELS + 2, False)):
        times = levels // (2 if len(opened) > 5 else 1)
        closed = {"[": "]", "{": "}"}
        ends = "".join(closed[each] for each in reversed(opened) if each in closed)
        text = opened * times + "1" + ends * times
        assert is_shallow(text.encode()) is fits


def test_what_is_deep_enough_stays_as_it_is() -> None:
    text = nested(MAX_LEVELS - 1, "1")
    assert decode_line(f'{{"a": {text}}}'.encode()) == {"a": json.loads(text)}


@given(st.lists(DEEP, max_size=4))
def test_a_line_of_many_brackets_is_what_python_s_own_decoder_reads(value: Any) -> None:
    data = json.dumps({"a": value * MAX_LEVELS, "b": [[]] * MAX_LEVELS}).encode()
    assert is_shallow(data)
    assert decode_line(data) == json.loads(data)


def test_what_is_storable_may_be_nested_as_deeply_as_memory_goes() -> None:
    value: Any = "a\0b"
    for _ in range(5000):
        value = [value]
    assert levels_of(storable(value)) == (5000, "a\ufffdb")
    assert levels_of(value) == (5000, "a\0b")


def test_storable_changes_keys_and_text_in_a_copy() -> None:
    value = {"k\0": [{"a": "\ud800"}, 1, None], "b": {}}
    assert storable(value) == {"k\ufffd": [{"a": "\ufffd"}, 1, None], "b": {}}
    assert value == {"k\0": [{"a": "\ud800"}, 1, None], "b": {}}


@pytest.mark.parametrize(
    "odd", [DIGITS, DIGITS[:4300], "1e400", nested(900, r'"\u0000"'), nested(5000, DIGITS)]
)
def test_every_handler_takes_an_odd_line(odd: str) -> None:
    content = json.dumps(f'{{"a": {odd}}}')
    choices = f'[{{"message": {{"content": {content}}}, "odd": {odd}}}]'
    body = f'{{"choices": {choices}, "usage": {{"prompt_tokens": {odd}}}, "error": {{"code": 1}}}}'
    response = f'{{"status_code": 200, "body": {body}}}'
    line = f'{{"id": "batch_req_1_0", "custom_id": "r", "error": null, "response": {response}}}'
    result = decode_line(line.encode())
    asked = f'{{"body": {{"model": "m", "messages": {odd}, "n": {odd}}}}}'
    result["request"] = decode_line(asked.encode())
    AnswerCheck(TaskSchema(name="s", answer={"type": "object"})).mark([result])
    stored = make_row("batch_1", result, ABOUT)
    task = make_task("batch_1", result, default_schema("/v1/chat/completions"), ABOUT)
    read = [text for text in stored if isinstance(text, str) and text.startswith("{")]
    read += [parquet.make_row("batch_1", result, ABOUT)["response"], storable_json(task).decode()]
    for text in read:
        assert msgspec.json.decode(text)
