"""Changing the model's name in a body, and nothing else."""

from batch_gpu_runner.engines.rename import model_of, rename_model

BODY = b'{"seed": 1.50, "model" : "ours", "messages": [{"content":"\\u00e9 \\"model\\""}]}'


def test_only_the_top_level_model_changes() -> None:
    renamed = rename_model(BODY, {"ours": "theirs"})
    assert renamed == (
        b'{"seed":1.50,"model":"theirs","messages":[{"content":"\\u00e9 \\"model\\""}]}'
    )


def test_what_needs_no_change_is_the_same_object() -> None:
    for body in (BODY, b"<html>", b"[1]", b'{"model": 3}', b"{}", b""):
        assert rename_model(body, {"other": "x"}) is body


def test_the_model_of_a_request() -> None:
    assert model_of(BODY) == "ours"
    assert model_of(b"{}") is None
    assert model_of(b"not json") is None
