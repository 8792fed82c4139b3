"""Where Label Studio is, by the settings or by the environment variables of its own client."""

from collections.abc import Mapping
from typing import Final

import msgspec
import yarl

from batch_common import config
from batch_common.errors import ConfigError
from batch_common.secret import Secret

_SECTION: Final = "result_handlers.label_studio"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """project_id: None: each batch goes to the project of its task schema"""

    url: yarl.URL
    key: Secret
    project_id: int | None

    @property
    def name(self) -> str:
        """For errors."""
        return f"Label Studio at {self.url}"

    def link(self, project_id: int) -> str:
        """To the project's tasks, for a browser."""
        return str(self.url / "projects" / str(project_id) / "data")


def find_target(settings: config.LabelStudio, environ: Mapping[str, str]) -> Target:
    """Raises ConfigError; its messages keep key and URL to themselves."""
    url = settings.url or environ.get("LABEL_STUDIO_URL", "")
    key = settings.api_key.reveal() or environ.get("LABEL_STUDIO_API_KEY", "")
    for value, name, variable in (
        (url, "url", "LABEL_STUDIO_URL"),
        (key, "api_key", "LABEL_STUDIO_API_KEY"),
    ):
        if not value.strip():
            raise ConfigError(
                f"the handler label_studio is enabled without its {name}: set {_SECTION}.{name} "
                f"or the environment variable {variable}"
            )
    project_id = settings.project_id or _number(environ.get("LABEL_STUDIO_PROJECT_ID", ""))
    return Target(url=_checked(url.strip()), key=Secret(key.strip()), project_id=project_id or None)


def _checked(text: str) -> yarl.URL:
    try:
        url = yarl.URL(text)
    except ValueError:
        url = yarl.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"{_SECTION}.url is not of the form http://host:port")
    if url.user is not None or url.password is not None:
        raise ConfigError(
            f"{_SECTION}.url holds a user or a password: a request has room for the API key only"
        )
    return url.with_query(None).with_fragment(None).with_path(url.path.rstrip("/"))


def _number(text: str) -> int:
    if not text.strip():
        return 0
    if not text.strip().isdecimal():
        raise ConfigError(
            "the environment variable LABEL_STUDIO_PROJECT_ID is not a project's number: it stands "
            "in the project's address, as the 7 in /projects/7"
        )
    return int(text)
