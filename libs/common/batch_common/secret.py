"""Strings that must not be shown."""

import hashlib
from collections.abc import Mapping
from typing import Any, final


@final
class Secret:
    """A string that logs, errors and `repr` show as `***`; `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"

    __str__ = __repr__


@final
class ApiKeys:
    """API key → tenant. Shown as a count; compared by digest, so that time tells nothing."""

    __slots__ = ("_by_digest", "_tenants")

    def __init__(self, tenants: Mapping[str, str]) -> None:
        self._tenants = dict(tenants)
        self._by_digest = {_digest(key): tenant for key, tenant in tenants.items()}

    def tenant_of(self, key: str) -> str | None:
        """None for a key that is not known."""
        return self._by_digest.get(_digest(key))

    def reveal(self) -> dict[str, str]:
        return dict(self._tenants)

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKeys) and other._tenants == self._tenants

    def __hash__(self) -> int:
        return hash(frozenset(self._by_digest))

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._tenants)} keys)"


@final
class Options:
    """Settings of somebody else's class, secrets among them: only their names are shown."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = dict(tree)

    def reveal(self) -> dict[str, Any]:
        return dict(self._tree)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and other._tree == self._tree

    def __hash__(self) -> int:
        return hash(frozenset(self._tree))

    def __repr__(self) -> str:
        return f"Options({', '.join(sorted(self._tree))})"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
