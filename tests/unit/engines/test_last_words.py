"""Finding in an engine's output what it died of."""

from pathlib import Path

from batch_gpu_runner.engines.last_words import last_line, last_words, read_last_words

VLLM = """\
\x1b[1;36m(EngineCore pid=77)\x1b[0;0m INFO 11-23 18:20:21 [core.py:70] starting
(EngineCore pid=77) ERROR 11-23 18:20:24 [core.py:842] Traceback (most recent call last):
(EngineCore pid=77) ERROR 11-23 18:20:24 [core.py:842]   File "/x/core.py", line 7, in run
(EngineCore pid=77) ERROR 11-23 18:20:24 [core.py:842] torch.OutOfMemoryError: CUDA out of memory.
(APIServer pid=70) RuntimeError: Engine core initialization failed. See root cause above.
"""

LLAMA = """\
loading /models/x.gguf
0.00.008.329 E gguf_init_from_file: failed to open GGUF file '/models/x.gguf' (No such file)
error: Failed to init server, please check the input params.
"""


def test_the_cause_is_told_and_not_its_echo() -> None:
    assert last_words(VLLM) == "torch.OutOfMemoryError: CUDA out of memory."


def test_an_exception_goes_on_below_its_first_line() -> None:
    text = """\
WARNING 11-23 18:20:21 [platform.py:1] failed to find a GPU, which is no failure
Traceback (most recent call last):
  File "/x/_dataclasses.py", line 121, in __init__
pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Invalid repository ID or local directory specified: '/models/none'.
Please verify the following requirements:
1. Provide a valid Hugging Face repository ID.
2. Specify a local directory.
"""
    assert last_words(text).splitlines() == [
        "pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "Value error, Invalid repository ID or local directory specified: '/models/none'.",
        "Please verify the following requirements:",
        "1. Provide a valid Hugging Face repository ID.",
    ]


def test_an_engine_that_only_informed_is_quoted_at_its_end() -> None:
    text = "INFO 11-23 18:20:21 [a.py:1] loading\nINFO 11-23 18:20:22 [a.py:1] bye\n"
    assert last_words(text) == "bye"


def test_who_said_it_and_when_is_left_out() -> None:
    assert last_words(LLAMA).splitlines() == [
        "gguf_init_from_file: failed to open GGUF file '/models/x.gguf' (No such file)",
        "error: Failed to init server, please check the input params.",
    ]


def test_without_an_error_the_last_lines_are_told() -> None:
    text = "\n".join(f"line {number}" for number in range(9))
    assert last_words(text).splitlines() == [f"line {number}" for number in range(4, 9)]


def test_an_error_said_again_and_again_is_told_once() -> None:
    assert last_words("ValueError: no\n" * 50) == "ValueError: no"


def test_a_long_line_is_cut() -> None:
    assert len(last_words("ValueError: " + "x" * 9_000)) == 400


def test_a_progress_bar_is_read_at_its_end() -> None:
    assert last_line("loading:  10%\rloading:  50%\r\n\n") == "loading:  50%"


def test_only_the_end_of_a_huge_file_is_read(tmp_path: Path) -> None:
    output = tmp_path / "engine.log"
    output.write_bytes(b"ValueError: early\n" + b"x\n" * 200_000 + b"\xff last\n")
    assert read_last_words(output).splitlines()[-1].endswith("last")
    assert "early" not in read_last_words(output)


def test_no_file_has_no_words(tmp_path: Path) -> None:
    assert read_last_words(tmp_path / "none.log") == ""
