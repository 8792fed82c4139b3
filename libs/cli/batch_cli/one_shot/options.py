"""Arguments that are not ours, as options for the engine."""

from batch_common.errors import ConfigError


def engine_options(unknown: list[str]) -> tuple[tuple[str, str], ...]:
    """`--key value`, `--key=value` and bare `--key` (true), as `-o` would have them, with
    underscores. Raises ConfigError.
    """
    options: list[tuple[str, str]] = []
    rest = list(unknown)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise ConfigError(
                f"unknown argument {word!r}: options for the engine are written --key value; "
                "see vllm-batch run --help"
            )
        key, equals, value = word.removeprefix("--").partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        options.append((key.replace("-", "_"), value))
    return tuple(options)
