"""An authority and what it vouches for, as files in the layout of cert-manager."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)
LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Authority:
    """Signs certificates for 127.0.0.1 and `localhost`; each is a folder of PEM files."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        builder = self._builder(self._name, self._key.public_key())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._root = self._signed(builder.add_extension(constraints, critical=True))

    def issue(self, folder: Path) -> Path:
        """`ca.crt`, `tls.crt` and `tls.key` in `folder`."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(LOOPBACK), x509.DNSName("localhost")]
        builder = self._builder(x509.Name([]), key.public_key())
        leaf = self._signed(
            builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(pem(self._root))
        (folder / "tls.crt").write_bytes(pem(leaf))
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        secret = key.private_bytes(serialization.Encoding.PEM, form, plain)
        (folder / "tls.key").write_bytes(secret)
        return folder

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        return builder.not_valid_before(now - DAY).not_valid_after(now + DAY)

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def server_context(folder: Path, *, demanding: bool) -> ssl.SSLContext:
    """A server's side; one that is demanding wants a certificate of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    if demanding:
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(folder: Path, *, showing: bool) -> ssl.SSLContext:
    """A client's side that trusts the authority of `folder`, and shows its certificate or not."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    if showing:
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context
