"""How models are named on command lines and in `runner.models`: `[NAME=]PATH_OR_HUB_ID`."""

from pathlib import Path
from typing import Final

from batch_common.config import Runner

# These engines pass the part after NAME= on as a name; the others load it.
_UPSTREAM_ENGINES: Final = frozenset({"openai", "sim"})


def split_spec(text: str) -> tuple[str, str]:
    """(NAME or "", rest). A path that exists may itself hold an equals sign."""
    name, equals, source = text.partition("=")
    if not equals or Path(text).expanduser().exists():
        return "", text
    return name, source


def local_path(source: str) -> Path | None:
    """`source` as an absolute path; None for a hub id.

    What exists on disk is a path, as for vLLM; so is what starts with `/`, `.` or `~`, or ends
    in `.gguf`.
    """
    path = Path(source).expanduser()
    looks_local = source.startswith(("/", ".", "~")) or source.lower().endswith(".gguf")
    return path.absolute() if looks_local or path.exists() else None


def default_name(path: Path) -> str:
    """The name of a model on disk that is given none: its folder's, or its file's stem."""
    is_file = path.is_file() or (path.suffix.lower() == ".gguf" and not path.is_dir())
    return path.stem if is_file else path.name


def served_names(runner: Runner) -> frozenset[str]:
    """The names by which requests call the models of `runner.models`."""
    return frozenset(_served_name(text.strip(), runner.engine) for text in runner.models)


def _served_name(text: str, engine: str) -> str:
    name, source = split_spec(text)
    if name or engine in _UPSTREAM_ENGINES:
        return name or source
    path = local_path(source)
    return source if path is None else default_name(path)
