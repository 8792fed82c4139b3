"""The last look at an address before a webhook connects to it."""

import errno
import socket
from contextvars import ContextVar
from typing import Any, Final

from batch_common.logs import get_log
from batch_common.public_address import is_public

log = get_log(__name__)


PRIVATE: Final = (
    "the target's address is private: to deliver within your own network, "
    "set result_handlers.webhook.allow_private"
)


class PrivateAddressError(OSError):
    """The target is not on the public internet."""


# Of the post that this task makes: what was refused, however the HTTP client went on after it.
_refused: ContextVar[list[str] | None] = ContextVar("refused addresses", default=None)


def note_refused() -> list[str]:
    """The addresses that are refused from here on, in this task."""
    refused: list[str] = []
    _refused.set(refused)
    return refused


def open_public_socket(address_info: Any) -> socket.socket:
    """A socket for an address that is about to be connected to, for aiohttp's `socket_factory`.

    After the name was resolved and whatever the name was, so an answer of DNS that changes
    between check and connection gets no further. Raises PrivateAddressError, whose words a tenant
    may read: the address itself, which may be of a name in our network, goes to the log only.
    """
    family, kind, protocol, _, target = address_info
    host = str(target[0])
    if not is_public(host):
        log.warning("private_target_refused", address=host)
        if (refused := _refused.get()) is not None:
            refused.append(host)
        raise PrivateAddressError(errno.EACCES, PRIVATE)
    return socket.socket(family, kind, protocol)
