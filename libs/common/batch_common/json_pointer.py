"""JSON Pointers (RFC 6901): names of places in JSON. The empty pointer is the whole document."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

# Of a position. No list is that long, and Python converts no more than 4300 to an integer.
_MAX_DIGITS: Final = 20


def pointer(path: Iterable[str | int]) -> str:
    """The pointer that leads along these keys and positions."""
    return "".join(f"/{_escaped(str(step))}" for step in path)


def steps(text: str) -> list[str]:
    """The inverse. Raises ValueError for what is no pointer."""
    if not text:
        return []
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is no JSON pointer: it must be empty or begin with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def resolve(document: Any, text: str) -> Any:
    """What stands there. Raises LookupError where nothing does, ValueError as `steps`.

    `-1` and the like count from the end of an array, which RFC 6901 does not know.
    """
    found = document
    for step in steps(text):
        found = _enter(found, step)
    return found


def walk(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in a document, with its pointer; the document itself comes first."""
    yield at, value
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for step, item in inner:
        yield from walk(item, at + pointer([step]))


def _enter(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value[step]
    if isinstance(value, list) and step.removeprefix("-").isdecimal() and len(step) <= _MAX_DIGITS:
        return value[int(step)]
    raise LookupError(step)


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
