"""The two sides of TLS: what each is made of, and what context that gives.

What is demanded does not depend on the version of Python.
"""

import ssl
from pathlib import Path
from typing import Protocol

from pannier_gateway.config.model import TlsConfig
from pannier_gateway.errors import StoreRefused
from pannier_gateway.tls.material import (
    CA,
    CERTIFICATE,
    KEY,
    Files,
    Material,
    read_material,
    text_of,
)

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
STRICT = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN  # as Python demands from 3.13 on


class Side(Protocol):
    """One end. `place` is where its files are, for messages."""

    place: str

    @property
    def verified(self) -> bool:
        """Whether the other end has to prove who it is."""
        ...

    def read(self) -> Material:
        """The files of now. Raises StoreRefused."""
        ...

    def context(self, material: Material) -> ssl.SSLContext:
        """Raises ValueError, and OSError, which ssl.SSLError is one of."""
        ...


class ClientSide:
    """Towards the store of a Bucket. Without a `config`, the system's authorities count."""

    place = "the Bucket's tls block"

    def __init__(self, config: TlsConfig | None, files: Files) -> None:
        self._config = config
        self._files = files

    @property
    def verified(self) -> bool:
        return self._config is None or not self._config.insecure_skip_verify

    def read(self) -> Material:
        return Material() if self._config is None else read_material(self._config, self._files)

    def context(self, material: Material) -> ssl.SSLContext:
        config = self._config
        context = ssl.create_default_context(cadata=material.authority)
        material.load_into(context)
        context.minimum_version = VERSIONS["TLS12" if config is None else config.min_version]
        context.options |= ssl.OP_NO_RENEGOTIATION  # in which nothing can be sent for a while
        context.verify_flags |= STRICT
        if config is not None and config.relaxed_x509:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self.verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class ServerSide:
    """Towards other gateways, who have to show a certificate of the authority in `folder`."""

    verified = True

    def __init__(self, folder: Path) -> None:
        self.place = f"{folder} (--tls-dir)"
        self._folder = folder

    def read(self) -> Material:
        try:
            authority, certificate, key = (
                (self._folder / name).read_bytes() for name in (CA, CERTIFICATE, KEY)
            )
        except OSError as error:
            raise StoreRefused(f"{error.filename} can't be read: {error.strerror}") from error
        return Material(text_of(authority), certificate, key)

    def context(self, material: Material) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=material.authority)
        material.load_into(context)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= ssl.OP_NO_TICKET  # who comes again proves again who it is
        context.num_tickets = 0
        return context
