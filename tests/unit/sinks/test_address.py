"""Which addresses a webhook may reach."""

import socket

import pytest

from batch_sinks.webhook.address import PrivateAddressError, is_public, open_public_socket

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",  # noqa: S104
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::a9fe:a9fe",
    "2001:0:7f00:1:0:0:80ff:fffe",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_and_what_hides_them(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_a_refusal_says_what_to_do() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 443))
    with pytest.raises(
        PrivateAddressError, match=r"10\.1\.2\.3.*result_handlers\.webhook\.allow_private"
    ):
        open_public_socket(info)


def test_a_public_address_gets_its_socket() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443))
    with open_public_socket(info) as opened:
        assert (opened.family, opened.type) == (socket.AF_INET, socket.SOCK_STREAM)
