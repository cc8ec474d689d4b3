"""What the listener proves itself with: replaced while it listens, for handshakes from then on."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509

from pannier_operator.injector.certificate import Unreadable, certificates


class Identity:
    """A TLS context, and when its certificate ends. Connections that are open stay as they are."""

    def __init__(self) -> None:
        self.context = _context()
        self._served: tuple[bytes, bytes] | None = None
        self._certificate: x509.Certificate | None = None

    def __repr__(self) -> str:
        return f"<Identity until {self.end}>"

    @property
    def end(self) -> datetime | None:
        return None if self._certificate is None else self._certificate.not_valid_after_utc

    @property
    def unready(self) -> str:
        """Why nobody would believe it; empty: they do."""
        if self.end is None:
            return "there is no certificate yet"
        if self.end <= datetime.now(UTC):
            return f"the certificate ended at {self.end:%Y-%m-%d %H:%M} UTC"
        return ""

    def take_up(self, certificate: bytes, key: bytes) -> bool:
        """Serve this pair, in PEM; whether it is another one. Raises Unreadable, and stays."""
        if (certificate, key) == self._served:
            return False
        first, *_ = certificates(certificate)
        with TemporaryDirectory() as folder:
            files = _written(Path(folder), certificate, key)
            _load(_context(), files)  # a context that is served must not be left half changed
            _load(self.context, files)
        self._served, self._certificate = (certificate, key), first
        return True


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0  # API servers resume no sessions
    return context


def _written(folder: Path, certificate: bytes, key: bytes) -> tuple[Path, Path]:
    """Files, which is all that `ssl` reads from; the folder is its owner's alone."""
    files = folder / "tls.crt", folder / "tls.key"
    for file, content in zip(files, (certificate, key), strict=True):
        file.write_bytes(content)
    return files


def _load(context: ssl.SSLContext, files: tuple[Path, Path]) -> None:
    try:
        context.load_cert_chain(*files)
    except ssl.SSLError as error:
        raise Unreadable(f"certificate and key can't be served: {error.reason}") from error
