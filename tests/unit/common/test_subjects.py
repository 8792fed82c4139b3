"""Model names in subjects and durable names."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from batch_common.subjects import (
    chunk_ready,
    chunks_of,
    dead,
    model_name,
    model_token,
    runner_durable,
)

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


def test_plain_names_stand_for_themselves() -> None:
    assert model_token("Qwen3-4B_x") == "Qwen3-4B_x"


def test_everything_else_is_encoded() -> None:
    assert model_token("Qwen/Qwen3-4B") == "Qwen=2fQwen3-4B"
    assert model_token("a.b*c>d e=f") == "a=2eb=2ac=3ed=20e=3df"
    assert model_token("é") == "=c3=a9"


@given(NAMES)
@example("=2f")
@example("/")
@example("a\x00b\n")
def test_decoding_gives_the_name_back(name: str) -> None:
    assert model_name(model_token(name)) == name


@given(NAMES, NAMES)
@example("=2f", "/")
@example("A", "a")
def test_no_two_names_share_a_token(one: str, other: str) -> None:
    assert (model_token(one) == model_token(other)) == (one == other)


@given(NAMES)
def test_a_token_is_one_token_of_a_subject_and_of_a_durable(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=-]*", model_token(name))


def test_the_subjects() -> None:
    assert chunk_ready("a/b", "chunk_1") == "chunk.ready.a=2fb.chunk_1"
    assert chunks_of("a/b") == "chunk.ready.a=2fb.>"
    assert runner_durable("a/b") == "runner-a=2fb"
    assert dead("webhook") == "dead.webhook"
