"""What a TLS identity is made of: files in cert-manager's layout, whom they name, until when."""

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from msgspec import Struct

from pannier_gateway.config.model import TlsConfig
from pannier_gateway.errors import StoreRefused

CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"


class Files(Protocol):
    """Where Secrets and ConfigMaps are."""

    def read(self, name: str, key: str) -> bytes:
        """Raises StoreRefused where nothing is."""
        ...


class Material(Struct, frozen=True):
    """PEM, as it was read; None: not given."""

    authority: str | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    @property
    def expiries(self) -> dict[str, float]:
        """When the certificate ends and when the first of the authorities does, in seconds since
        the epoch. Raises ValueError for what is no certificate."""
        certificate = self.certificate
        authority = None if self.authority is None else self.authority.encode()
        given = {"certificate": certificate, "authority": authority}
        return {name: first_end(pem) for name, pem in given.items() if pem is not None}

    @property
    def names(self) -> frozenset[str]:
        """Whom the certificate is for. Raises ValueError for what is no certificate."""
        return frozenset() if self.certificate is None else names_in(self.certificate)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have `context` show the certificate. Raises ssl.SSLError where the two do not fit,
        ValueError where the key is encrypted."""
        if self.certificate is None or self.key is None:
            return
        with TemporaryDirectory(prefix="pannier-") as folder:  # ssl takes files alone
            certificate, key = Path(folder) / CERTIFICATE, Path(folder) / KEY
            for file, pem in ((certificate, self.certificate), (key, self.key)):
                file.touch(mode=0o600)
                file.write_bytes(pem)
            context.load_cert_chain(certificate, key, refuse_to_ask)


def read_material(config: TlsConfig, files: Files) -> Material:
    """What the tls block of a Bucket names. Raises StoreRefused where something is missing."""
    if config.secret is None:
        return Material(read_authority(config, files))
    pair = (files.read(config.secret, name) for name in (CERTIFICATE, KEY))
    return Material(read_authority(config, files), *pair)


def read_authority(config: TlsConfig, files: Files) -> str | None:
    """The bundle that the Bucket names; None: the system's own."""
    if config.ca_config_map is not None:
        return text_of(files.read(config.ca_config_map, config.ca_key or CA))
    if config.secret is None:
        return None
    try:
        return text_of(files.read(config.secret, CA))
    except StoreRefused:
        return None  # cert-manager leaves it out where a public authority has signed


def text_of(pem: bytes) -> str:
    """Without what is not ASCII: that stands in comments, and ssl takes none of it."""
    return pem.decode("ascii", errors="ignore")


def refuse_to_ask() -> str:
    """Instead of ssl, which would wait for somebody at the terminal. Raises ValueError."""
    raise ValueError(f"{KEY} is encrypted: it has to be a key without a passphrase")


def first_end(pem: bytes) -> float:
    """Raises ValueError."""
    from cryptography.x509 import (  # noqa: PLC0415  # megabytes, for those that have certificates
        load_pem_x509_certificates,
    )

    return min(each.not_valid_after_utc.timestamp() for each in load_pem_x509_certificates(pem))


def names_in(pem: bytes) -> frozenset[str]:
    """The alternative names of the first certificate that say who somebody is, or where.

    Raises ValueError.
    """
    from cryptography import x509  # noqa: PLC0415  # as above

    (leaf, *_) = x509.load_pem_x509_certificates(pem)
    kinds = (x509.UniformResourceIdentifier, x509.DNSName, x509.IPAddress)
    try:
        told = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return frozenset()  # none that anybody would go by
    return frozenset(str(name) for kind in kinds for name in told.get_values_for_type(kind))
