"""The serving certificate and the CA behind it: what to have, decided from what there is.

A CA is trusted for a while before anything is signed by it, and the one before it stays trusted
until it ends: nobody ever meets a certificate that is not in the bundle yet, or no more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

CA_LIFETIME = timedelta(days=365)
LIFETIME = timedelta(days=90)
OVERLAP = timedelta(minutes=30)  # that a new CA is trusted before it signs
BACKDATED = timedelta(minutes=10)  # for clocks that are late

Key = ec.EllipticCurvePrivateKey


class Unreadable(ValueError):
    """Certificates or keys that are none, or do not belong together."""


class Pair(Struct, frozen=True):
    """A certificate and its key."""

    certificate: Certificate
    key: Key

    @property
    def begin(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def end(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def ended(self, now: datetime) -> bool:
        """Whether its life is over. One that has not begun is another injector's clock."""
        return now >= self.end

    def spent(self, now: datetime) -> bool:
        """Whether two thirds of its life are over."""
        return now > self.end - (self.end - self.begin) / 3


class Kept(Struct, frozen=True, kw_only=True):
    """What there is: the newest CA, older ones that are still trusted, and what is served."""

    ca: Pair
    older: tuple[Certificate, ...] = ()
    serving: Pair

    @property
    def bundle(self) -> bytes:
        """The CAs to trust, in PEM."""
        return b"".join(map(pem, (self.ca.certificate, *self.older)))

    def due(self, now: datetime) -> bool:
        """Whether the newest CA, once it has been trusted for a while, should sign again."""
        if now < self.ca.begin + BACKDATED + OVERLAP:
            return False
        foreign = self.serving.certificate.issuer != self.ca.certificate.subject
        return foreign or self.serving.spent(now)


def renewed(kept: Kept | None, names: Sequence[str], now: datetime) -> Kept:
    """What there should be: `kept` itself when all is well, or the next step from it.

    With nothing to go on from, all of it is new at once.
    """
    if kept is None or kept.ca.ended(now):
        ca = new_ca(now)
        return Kept(ca=ca, serving=signed(ca, names, now))
    if kept.serving.ended(now) or names_of(kept.serving.certificate) != set(map(_canonical, names)):
        return _signed_anew(kept, names, now)
    if kept.ca.spent(now):
        older = (kept.ca.certificate, *kept.older)
        alive = tuple(each for each in older if each.not_valid_after_utc > now)
        return Kept(ca=new_ca(now), older=alive, serving=kept.serving)
    if kept.due(now):
        return _signed_anew(kept, names, now)
    return kept


def _signed_anew(kept: Kept, names: Sequence[str], now: datetime) -> Kept:
    return Kept(ca=kept.ca, older=kept.older, serving=signed(kept.ca, names, now))


def new_ca(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"pannier-injector {x509.random_serial_number():x}")
    certificate = (
        _builder(name, key, now, CA_LIFETIME)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def signed(ca: Pair, names: Sequence[str], now: datetime) -> Pair:
    """A serving certificate for `names`: names of hosts, and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key())
    alternatives = x509.SubjectAlternativeName([_alternative(each) for each in names])
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _builder(_name("pannier-injector"), key, now, LIFETIME)
        .issuer_name(ca.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(server, critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def names_of(certificate: Certificate) -> set[str]:
    """The names of hosts and the addresses that it stands for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {*found.get_values_for_type(x509.DNSName), *map(str, _addresses(found))}


def pem(certificate: Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_of_key(key: Key) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def pair(certificate: bytes, key: bytes) -> Pair:
    """A certificate and its key from PEM. Raises Unreadable."""
    try:
        found = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"not a certificate and its key: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Unreadable("not a key of an elliptic curve")
    if private.public_key() != found.public_key():
        raise Unreadable("the key is not the certificate's")
    return Pair(found, private)


def certificates(bundle: bytes) -> list[Certificate]:
    """Raises Unreadable."""
    try:
        return x509.load_pem_x509_certificates(bundle)
    except ValueError as error:
        raise Unreadable(f"no certificates: {error}") from error


def _builder(
    subject: x509.Name, key: Key, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(subject)
        .public_key(key.public_key())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _canonical(name: str) -> str:
    """As a certificate tells it: 2001:DB8::1 is 2001:db8::1 there."""
    return str(_alternative(name).value)


def _addresses(found: x509.SubjectAlternativeName) -> list[IPv4Address | IPv6Address]:
    values = found.get_values_for_type(x509.IPAddress)
    return [each for each in values if isinstance(each, IPv4Address | IPv6Address)]
