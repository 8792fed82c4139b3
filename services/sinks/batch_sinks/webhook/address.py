"""The last look at an address before a webhook connects to it."""

import errno
import socket
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


def has_private(error: OSError) -> bool:
    """Whether a private address was among those that could not be connected to.

    The HTTP client makes one error of several, of which only the words are left.
    """
    return isinstance(error, PrivateAddressError) or PRIVATE in str(error)


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
        raise PrivateAddressError(errno.EACCES, PRIVATE)
    return socket.socket(family, kind, protocol)
