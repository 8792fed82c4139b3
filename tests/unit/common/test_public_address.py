"""Which addresses are on the public internet."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_common.public_address import is_public

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "4000::1",
    "5f00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2001:0:7f00:1:0:0:80ff:fffe",
]
LOOPBACK_AND_PRIVATE = [
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3"),
    )
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_and_what_hides_them(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@given(st.sampled_from(LOOPBACK_AND_PRIVATE), st.integers(0, 2**32 - 1))
def test_no_private_address_gets_through_in_any_form(network: IPv4Network, seed: int) -> None:
    address = IPv4Address(int(network.network_address) + seed % network.num_addresses)
    value = int(address)
    forms = [
        IPv6Address(0xFFFF << 32 | value),  # IPv4-mapped
        IPv6Address(0xFFFF << 48 | value),  # IPv4-translated
        IPv6Address(value),  # IPv4-compatible
        IPv6Address(int(IPv6Address("64:ff9b::")) | value),  # NAT64
        IPv6Address(0x2002 << 112 | value << 80 | seed),  # 6to4
        IPv6Address(0x20010000 << 96 | value ^ 0xFFFFFFFF),  # Teredo
    ]
    assert not any(is_public(str(form)) for form in (address, *forms))


def test_a_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="example"):
        is_public("example.com")
