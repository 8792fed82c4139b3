"""What msgspec says of a configuration, in the words of who wrote it."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$\.(.*)`)?")


def in_words(error: msgspec.ValidationError, root: type[msgspec.Struct]) -> str:
    """An unknown key with its place and the one that was meant; the rest as msgspec says it."""
    found = _UNKNOWN.fullmatch(str(error))
    if found is None:
        return str(error)
    key, place = found[1], found[2] or ""
    known = _keys(root, place.split(".") if place else [])
    near = difflib.get_close_matches(key, known, n=1)
    said = f"{place}.{key}" if place else key
    return f"{said}: unknown key" + (f"; did you mean {near[0]}?" if near else "")


def _keys(root: type[msgspec.Struct], place: Iterable[str]) -> list[str]:
    """Those of the section at `place`; none where it is no section of its own."""
    kind: Any = root
    for name in place:
        fields = msgspec.structs.fields(kind) if _is_section(kind) else ()
        kind = next((field.type for field in fields if field.encode_name == name), None)
    return (
        [field.encode_name for field in msgspec.structs.fields(kind)] if _is_section(kind) else []
    )


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
