"""A refusal at the socket."""

import socket

import pytest

from batch_sinks.webhook.address import PrivateAddressError, open_public_socket


def info(address: str) -> tuple[object, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))


def test_it_says_what_to_do_and_keeps_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    """A tenant that could read it would have a look into our DNS; the operator has the log."""
    with pytest.raises(
        PrivateAddressError, match=r"set result_handlers\.webhook\.allow_private"
    ) as raised:
        open_public_socket(info("10.1.2.3"))
    assert "10.1.2.3" not in str(raised.value)
    said = capsys.readouterr()
    assert "10.1.2.3" in said.out + said.err


def test_a_public_address_gets_its_socket() -> None:
    with open_public_socket(info("1.1.1.1")) as opened:
        assert (opened.family, opened.type) == (socket.AF_INET, socket.SOCK_STREAM)
