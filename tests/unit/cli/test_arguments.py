"""What the command line understands, and that understanding it loads nothing heavy."""

import importlib
import subprocess
import sys

import pytest

from batch_cli.commands import up
from batch_cli.main import build_parser, main
from batch_cli.one_shot.options import engine_options
from batch_common.errors import ConfigError
from batch_gpu_runner.engines.settings import ENGINES

COMMANDS = {
    "up": (),
    "run": ("-i", "a", "-o", "b"),
    "submit": ("f",),
    "list": (),
    "show": ("b",),
    "watch": ("b",),
    "cancel": ("b",),
    "results": ("b",),
    "retry": ("b",),
    "gateway": (),
    "scheduler": (),
    "runner": (),
    "schema check": ("f",),
    "schema list": (),
    "schema new": ("n",),
    "sinks": (),
    "sinks list": (),
    "sinks redrive": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_work_that_exists(command: str) -> None:
    args = build_parser().parse_args([*command.split(), *COMMANDS[command]])
    module, _, function = args.work.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "example" in capsys.readouterr().out


def test_help_loads_no_service_and_no_library() -> None:
    code = (
        "import sys\n"
        "from batch_cli.main import build_parser\n"
        "build_parser().format_help()\n"
        "heavy = {'aiohttp', 'litestar', 'sqlalchemy', 'nats', 'rich', 'msgspec', 'yaml',\n"
        "         'asyncio', 'http.client', 'batch_common'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["up", "--no-such"], 2)])
def test_nothing_that_happens_at_exit_changes_the_exit_code(
    arguments: list[str], code: int
) -> None:
    """Threads of a library may abort an interpreter that is half torn down."""
    program = "import atexit, os; atexit.register(os.abort); from batch_cli.main import script"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; script()", *arguments], capture_output=True, check=False
    )
    assert done.returncode == code
    assert done.stdout or done.stderr


def test_abbreviations_are_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["up", "--data", "x"])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: unknown argument --data: did you mean --data-dir?")


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["sumbit", "f"], "submit"), (["sinks", "lst"], "list"), (["up", "--engine", "vlm"], "vllm")],
)
def test_a_mistyped_word_is_told_what_was_meant(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert f": did you mean {meant}?" in capsys.readouterr().err


def test_a_word_that_is_like_none_is_told_all_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["qqqq"])
    assert "submit" in capsys.readouterr().err


def test_the_engines_are_those_there_are() -> None:
    assert up.ENGINES == ENGINES


@pytest.mark.parametrize("runners", ["0", "-1", "many"])
def test_there_is_at_least_one_runner(runners: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["up", "--runners", runners])
    assert left.value.code == 2


def test_unknown_options_of_run_are_the_engines() -> None:
    words = ["--max-model-len", "8192", "--dtype=bfloat16", "--enforce-eager", "--seed", "-1"]
    assert engine_options(words) == (
        ("max_model_len", "8192"),
        ("dtype", "bfloat16"),
        ("enforce_eager", "true"),
        ("seed", "-1"),
    )


@pytest.mark.parametrize("words", [["stray"], ["-x"], ["--"], ["--a", "1", "2"]])
def test_a_stray_word_is_no_option(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="unknown argument"):
        engine_options(words)
