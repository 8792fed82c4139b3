"""What MkDocs needs besides the pages, so that they read the same on GitHub and in the site.

The first page is README.md. Links out of docs/ lead to copies of the files below `source/`, as
plain text: no page of the site depends on where the repository lies.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SOURCE = "source"
_LINK = re.compile(r"(\[[^\]]*\])\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the first page, and a copy of everything that a page links to outside docs/."""
    files.append(File.generated(config, "index.md", content=_front_page()))
    wanted = set()
    for file in files.documentation_pages():
        for _, target in _LINK.findall(file.content_string):
            wanted |= _outside(target.partition("#")[0])
    for path in sorted(wanted):
        uri = _copy_of(path)
        if (ROOT / path).is_dir():
            files.append(File.generated(config, uri, content=_listing(path)))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turns links out of docs/ into links to the copies."""

    def there(match: re.Match[str]) -> str:
        path = next(iter(_outside(match[2].partition("#")[0], own_only=True)), None)
        return f"{match[1]}({_copy_of(path)})" if path else match[0]

    return _LINK.sub(there, markdown)


def _front_page() -> str:
    """README.md as a page of docs/."""

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("#"):
            return match[0]
        return f"{match[1]}({os.path.relpath(target, 'docs')})"

    return _LINK.sub(moved, (ROOT / "README.md").read_text("utf-8"))


def _outside(target: str, *, own_only: bool = False) -> set[str]:
    """The path, from the root, that a link leads to outside docs/; with a folder its files."""
    path = posixpath.normpath(posixpath.join("docs", target)) if target else ""
    if "://" in target or not path or path.split("/")[0] == "docs" or not (ROOT / path).exists():
        return set()
    inside = [] if own_only or not (ROOT / path).is_dir() else _files_in(path)
    return {path, *inside}


def _files_in(folder: str) -> list[str]:
    found = sorted((ROOT / folder).rglob("*"))
    return [
        str(path.relative_to(ROOT))
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    ]


def _copy_of(path: str) -> str:
    """A folder becomes a page that lists it."""
    return f"{SOURCE}/{path}.md" if (ROOT / path).is_dir() else f"{SOURCE}/{path}.txt"


def _listing(folder: str) -> str:
    up = "../" * len(Path(folder).parts)
    lines = [f"- [{path}]({up}{_copy_of(path)})" for path in _files_in(folder)]
    return f"# {folder}\n\n" + "\n".join(lines) + "\n"
