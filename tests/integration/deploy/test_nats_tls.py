"""NATS over TLS, as DEPLOYMENT.md says: a block in the shipped configuration, and `tls://`."""

import datetime as dt
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from batch_common import bus
from batch_common.bus import connect
from batch_common.config import Nats
from batch_common.errors import BusUnavailableError
from batch_common.secret import Secret
from support.shipped_nats import ShippedServer


def _self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nats")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "server.pem", folder / "server.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, secret


class TlsServer(ShippedServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.certificate, self._key = _self_signed(folder)

    def _moved(self, text: str) -> str:
        block = f'tls {{ cert_file: "{self.certificate}", key_file: "{self._key}" }}\n'
        return super()._moved(text) + block

    def tls(self, user: str) -> Nats:
        url = Secret(f"tls://127.0.0.1:{self.port}")
        return msgspec.structs.replace(self.settings(user), url=url)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TlsServer]:
    started = TlsServer(tmp_path)
    await started.start()
    yield started
    await started.stop()


async def test_a_service_that_knows_the_authority_comes_in(
    server: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    async with connect(server.tls("gateway"), "gateway") as connected:
        assert connected.client.is_connected


async def test_one_that_does_not_tells_why(
    server: TlsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr(bus, "_FIRST_S", 2.0)  # nothing would come of waiting longer
    with pytest.raises(BusUnavailableError, match=r"(?i)certificate"):
        async with connect(server.tls("gateway"), "gateway"):
            pass
