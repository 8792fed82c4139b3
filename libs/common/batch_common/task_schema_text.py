"""A task schema's text as a labelling interface can show it."""

import re
from typing import Final

# XML 1.0 has no way to write these.
_UNWRITABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# In what is shown, a $ before a letter, a digit or a bracket would be replaced by task data.
_VARIABLE: Final = re.compile(r"\$(?=[\w\[{])")


def writable(text: str) -> str:
    """With U+FFFD for each character that XML cannot hold."""
    return _UNWRITABLE.sub("\ufffd", text)


def plain(text: str) -> str:
    """A word joiner, which nobody sees, keeps a $ from being taken for a variable."""
    return _VARIABLE.sub("$\u2060", text)
