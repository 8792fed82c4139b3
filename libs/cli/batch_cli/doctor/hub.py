"""The model hub, and what of it lies on this machine."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final

_HUB: Final = "https://huggingface.co"
_TIMEOUT_S: Final = 5.0
_TRUE: Final = frozenset({"1", "true", "yes", "on"})


class Reply(Enum):
    THERE = auto()
    FORBIDDEN = auto()
    UNKNOWN = auto()
    SILENT = auto()


class Hub:
    """As the environment describes it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    @property
    def is_offline(self) -> bool:
        return self._environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE

    def cached(self, model: str) -> Path | None:
        """The folder of its newest complete snapshot; None where there is none."""
        snapshots = self._cache() / f"models--{model.replace('/', '--')}" / "snapshots"
        try:
            found = [each for each in snapshots.iterdir() if (each / "config.json").exists()]
        except OSError:
            return None
        return max(found, key=lambda each: each.stat().st_mtime, default=None)

    def ask(self, model: str) -> Reply:
        """Blocks for some seconds."""
        address = f"{self._environ.get('HF_ENDPOINT', _HUB)}/api/models/{model}"
        request = urllib.request.Request(address)  # noqa: S310 - the hub's, or the one configured
        token = self._environ.get("HF_TOKEN")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - as above
                return Reply.THERE
        except urllib.error.HTTPError as error:
            # Without a token the hub says 401 of models that are private and of those that are not.
            known = {401: Reply.FORBIDDEN, 403: Reply.FORBIDDEN, 404: Reply.UNKNOWN}
            return known.get(error.code, Reply.SILENT)
        except (OSError, ValueError):
            return Reply.SILENT

    def _cache(self) -> Path:
        given = self._environ.get("HF_HUB_CACHE")
        if given:
            return Path(given)
        home = self._environ.get("HF_HOME")
        return (Path(home) if home else Path("~/.cache/huggingface").expanduser()) / "hub"
