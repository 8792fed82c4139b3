"""One deliberate bug."""

from pathlib import Path

import msgspec


class DoesNotApplyError(Exception):
    """The source has changed: find out whether the promise has, and write the patch anew."""


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A patch, and who must notice.

    name: the bug, in a few words
    file: from the root of the repository
    old, new: exact text; `old` stands once in the file
    tests: pytest node ids; each must fail (without parameters: in one of its cases at least)
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def patched(self, root: Path) -> str:
        """The file's text with the bug in it. Raises DoesNotApplyError."""
        path = root / self.file
        text = path.read_text("utf-8") if path.is_file() else ""
        if (count := text.count(self.old)) != 1:
            raise DoesNotApplyError(f"{self.name}: {self.file} has the old text {count} times")
        return text.replace(self.old, self.new)
