"""argparse with errors of one line and the types that several commands share."""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn, TypeAlias

EXIT_USAGE = 2

# argparse gives the type no public name, and makes it generic for type checkers only.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001


class Parser(argparse.ArgumentParser):
    """Never guesses abbreviations; says in one line what is wrong and where help is."""

    def __init__(self, **settings: object) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message}; see {self.prog} --help\n")

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Name the first argument that nobody knows, and the option that was meant."""
        option = next((word for word in unknown if word.startswith("-")), unknown[0])
        near = difflib.get_close_matches(option.partition("=")[0], self._options(), n=1)
        self.error(f"unknown argument {option}" + (f": did you mean {near[0]}?" if near else ""))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Where argparse lists every choice, the one that was meant."""
        known = list(map(str, action.choices or ()))
        near = difflib.get_close_matches(str(value), known, n=1)
        if near and near[0] != str(value):
            raise argparse.ArgumentError(action, f"unknown {value}: did you mean {near[0]}?")
        super()._check_value(action, value)

    def _options(self) -> Iterable[str]:
        return [name for action in self._actions for name in action.option_strings]


def key_value(text: str) -> tuple[str, str]:
    """`key=value`; the value may be empty or hold further equals signs."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form key=value")
    return key, value


def add_connection(parser: Parser) -> None:
    """Where the server is, for every client command."""
    parser.add_argument(
        "--url",
        help="base URL of the API, as the OpenAI client takes it "
        "(default: OPENAI_BASE_URL, else http://127.0.0.1:8000/v1)",
    )
    parser.add_argument("--api-key", help="default: OPENAI_API_KEY")
