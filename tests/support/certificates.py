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
HERE: tuple[x509.GeneralName, ...] = (x509.IPAddress(LOOPBACK), x509.DNSName("localhost"))


class Authority:
    """Signs certificates for 127.0.0.1 and `localhost`; each is a folder of PEM files.

    One that is `sloppy` leaves out what RFC 5280 asks for and few used to check.
    """

    def __init__(self, *, sloppy: bool = False) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self._sloppy = sloppy
        self._root = self._certificate(self._name, self._key, DAY, None)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return pem(self._root)

    def issue(
        self,
        folder: Path,
        names: tuple[x509.GeneralName, ...] = HERE,
        lifetime: datetime.timedelta = DAY,
    ) -> Path:
        """`ca.crt`, `tls.crt` and `tls.key` in `folder`; ended already, if `lifetime` says so."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._certificate(x509.Name([]), key, lifetime, names)
        folder.mkdir(parents=True, exist_ok=True)
        form = serialization.PrivateFormat.PKCS8
        plain = serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, form, plain)
        files = {"ca.crt": self.pem, "tls.crt": pem(leaf), "tls.key": secret}
        for name, text in files.items():
            (folder / name).write_bytes(text)
        return folder

    def _certificate(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        lifetime: datetime.timedelta,
        names: tuple[x509.GeneralName, ...] | None,
    ) -> x509.Certificate:
        """One for an authority where there are no `names`."""
        now = datetime.datetime.now(datetime.UTC)
        serial = x509.random_serial_number()
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), serial)
        builder = builder.not_valid_before(now - 2 * DAY).not_valid_after(now + lifetime)
        if names is None:
            root = x509.BasicConstraints(ca=True, path_length=None)
            builder = builder.add_extension(root, critical=True)
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return self._formed(builder, key, root=names is None).sign(self._key, hashes.SHA256())

    def _formed(
        self, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, *, root: bool
    ) -> x509.CertificateBuilder:
        if self._sloppy:
            return builder
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(issuer, critical=False).add_extension(own, critical=False)
        return builder.add_extension(usage(signs=root), critical=True)


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


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
