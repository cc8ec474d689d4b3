"""How gateway and store prove themselves to each other: the TLS of a Bucket, from its Secrets."""

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

from pannier_gateway.config.model import TlsConfig
from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.secrets import Secrets

CA, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}


class Trust:
    """Makes the context when the first connection needs it."""

    def __init__(self, config: TlsConfig | None, secrets: Secrets) -> None:
        self._config = config
        self._secrets = secrets
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """Raises StoreRefused for files that are missing or no certificates."""
        if self._context is None:
            self._context = self._made()
        return self._context

    def _made(self) -> ssl.SSLContext:
        config = self._config
        if config is None:
            return ssl.create_default_context()
        try:
            context = ssl.create_default_context(cadata=self._authority(config))
            if config.secret is not None:
                self._show_certificate(context, config.secret)
        except (ssl.SSLError, ValueError) as error:
            raise StoreRefused(
                f"the certificates of the Bucket's tls block can't be used: {error}"
            ) from error
        context.minimum_version = VERSIONS[config.min_version]
        if config.relaxed_x509:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if config.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _authority(self, config: TlsConfig) -> str | None:
        """The bundle that the Bucket names; None: the system's own."""
        if config.ca_config_map is not None:
            return self._secrets.read(config.ca_config_map, config.ca_key or CA).decode()
        if config.secret is None:
            return None
        try:
            return self._secrets.read(config.secret, CA).decode()
        except StoreRefused:
            return None  # cert-manager leaves it out where a public authority has signed

    def _show_certificate(self, context: ssl.SSLContext, secret: str) -> None:
        with TemporaryDirectory(prefix="pannier-") as folder:  # ssl takes files alone
            files = [Path(folder) / name for name in (CERTIFICATE, KEY)]
            for file in files:
                file.touch(mode=0o600)
                file.write_bytes(self._secrets.read(secret, file.name))
            context.load_cert_chain(*map(str, files))
