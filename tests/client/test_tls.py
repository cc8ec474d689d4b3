"""The client over TLS: it trusts whom the system trusts, and nobody else."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pannier import Client, ConnectionFailed, Retry
from support.scripted import OK_PUT, answer, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "gateway.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(secret + signed.public_bytes(pem))
    return path


@pytest.fixture
def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_trusted_gateway_serves_over_one_connection(
    server_side: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    hello, body = answer("200 OK", b"hello" * 100_000), b"x" * (3 << 20)
    with (
        serving((hello, OK_PUT, OK_PUT, hello), tls=server_side) as server,
        Client(server.url) as client,
    ):
        session = client.session("abc")
        assert session.get("k").read() == b"hello" * 100_000
        assert session.put(body, "k").size == len(body)
        assert session.put([body], "k").size == len(body)
        assert b"".join(session.get("k")) == b"hello" * 100_000

    assert [request.body for request in server.requests[1:3]] == [body, body]
    assert server.connections <= 2  # a session ticket may come late and cost the first one


def test_a_gateway_that_nobody_vouches_for_is_refused_at_once(server_side: ssl.SSLContext) -> None:
    with serving(OK_PUT, tls=server_side) as server:
        client = Client(server.url, retry=Retry(3600))
        with pytest.raises(ConnectionFailed, match="certificate verify failed"):
            client.session("abc").get("k")


def test_a_gateway_without_tls_is_refused_at_once() -> None:
    with serving(lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        client = Client(server.url.replace("http", "https"), retry=Retry(3600))
        with pytest.raises(ConnectionFailed, match="cannot reach"):
            client.session("abc").get("k")
