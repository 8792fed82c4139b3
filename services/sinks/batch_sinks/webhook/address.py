"""Which addresses a webhook may reach: none that only this machine or network can."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

_NAT64: Final = IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """The target is not on the public internet."""


def open_public_socket(address_info: Any) -> socket.socket:
    """A socket for an address that is about to be connected to, for aiohttp's `socket_factory`.

    This is the last look at it, after the name was resolved and whatever the name was, so an
    answer of DNS that changes between check and connection gets no further. Raises
    PrivateAddressError.
    """
    family, kind, protocol, _, target = address_info
    host = str(target[0])
    if not is_public(host):
        raise PrivateAddressError(
            errno.EACCES,
            f"the target's address {host} is private: to deliver within your own network, "
            "set result_handlers.webhook.allow_private",
        )
    return socket.socket(family, kind, protocol)


def is_public(host: str) -> bool:
    """Of an IP address as text; False for one that carries a private one inside."""
    address = _innermost(ip_address(host.partition("%")[0]))
    return address.is_global and not address.is_multicast


def _innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
