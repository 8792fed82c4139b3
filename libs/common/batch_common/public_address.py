"""Which IP addresses are on the public internet: none that only this machine or network has."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

# All that is assigned of IPv6's global unicast; `is_global` also lets through what is not.
_ASSIGNED: Final = IPv6Network("2000::/3")
# Forms that carry an IPv4 address in their last bits: NAT64's, and IPv4-translated.
_CARRIERS: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0:0/96"))
# Protocol assignments, which `is_global` takes for public in parts.
_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")


def is_public(host: str) -> bool:
    """Of an IP address as text; False for one that carries a private one inside.

    Raises ValueError for what is no IP address.
    """
    address = _innermost(ip_address(host.partition("%")[0]))
    if isinstance(address, IPv6Address):
        assigned = address in _ASSIGNED
    else:
        assigned = address not in _PROTOCOLS
    return assigned and address.is_global and not address.is_multicast


def _innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _CARRIERS):
        return IPv4Address(address.packed[-4:])
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)
