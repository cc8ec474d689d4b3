"""Who looks after the certificate: the injectors themselves, together, or somebody with files.

The Secret is the truth. Whichever injector finds something due writes the next step, on condition
that nobody has written since it looked; all others read what it wrote.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from pannier_operator.api import ClusterError, Unreachable
from pannier_operator.injector.certificate import (
    Kept,
    Unreadable,
    certificates,
    pair,
    pem,
    pem_of_key,
    renewed,
)
from pannier_operator.injector.metrics import Metrics
from pannier_operator.injector.tls import Identity

log = logging.getLogger("pannier.certificate")

TRIES = 5  # to write, while others do too
INTERVAL = 60.0  # seconds between looks at the Secret
FILES_INTERVAL = 10.0  # and at files
RETRY = 2.0  # seconds after a failure

Contents = dict[str, bytes]


class Changed(Exception):
    """Somebody has written since: what was read is no longer true."""


class Version(NamedTuple):
    """What a Secret holds, and the resourceVersion that it holds it in."""

    contents: Contents
    number: str


class Vault(Protocol):
    """The Secret, and who must trust what is in it. All methods raise ClusterError."""

    async def read(self) -> Version: ...

    async def write(self, contents: Contents, over: str) -> None:
        """Raises Changed when the Secret is no longer version `over`."""
        ...

    async def trust(self, bundle: bytes) -> None:
        """Have the API server believe the CAs in `bundle`, no others."""
        ...


class Source(Protocol):
    """Where a certificate comes from."""

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        ...

    async def pair(self) -> tuple[bytes, bytes]:
        """Certificate and key in PEM. Raises ClusterError or Unreadable."""
        ...


class Own:
    """A certificate of our own making, kept in a Secret that all injectors share."""

    interval = INTERVAL

    def __init__(self, vault: Vault, names: Sequence[str]) -> None:
        self._vault = vault
        self._names = tuple(names)
        self._kept: Kept | None = None

    async def pair(self) -> tuple[bytes, bytes]:
        """It is trusted before it is served."""
        self._kept = kept = await self._agreed()
        await self._vault.trust(kept.bundle)
        return pem(kept.serving.certificate), pem_of_key(kept.serving.key)

    async def _agreed(self) -> Kept:
        for _ in range(TRIES):
            found = await self._vault.read()
            before = unpacked(found.contents)
            after = renewed(before, self._names, datetime.now(UTC))
            if after is before:
                return after
            if before is None and self._kept is not None:
                after = _with_older(after, self._kept)
            try:
                await self._vault.write(packed(after), found.number)
            except Changed:
                continue
            log.info("certificate renewed", extra={"until": after.serving.end})
            return after
        raise Unreachable("others keep changing the Secret of the certificate")


def _with_older(made: Kept, lost: Kept) -> Kept:
    """`made`, while other injectors still serve what was `lost` from the Secret."""
    return replace(made, older=(lost.ca.certificate, *lost.older))


class Mounted:
    """A certificate that somebody else keeps in a folder, as cert-manager's Secrets are mounted."""

    interval = FILES_INTERVAL

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def pair(self) -> tuple[bytes, bytes]:
        return await asyncio.to_thread(self._read)

    def _read(self) -> tuple[bytes, bytes]:
        try:
            files = self._folder / "tls.crt", self._folder / "tls.key"
            return files[0].read_bytes(), files[1].read_bytes()
        except OSError as error:
            raise Unreadable(f"{error.filename}: {error.strerror}") from error


class Rotation:
    """Keeps an identity up to date from its source."""

    def __init__(self, source: Source, identity: Identity, metrics: Metrics) -> None:
        self._source = source
        self._identity = identity
        self._metrics = metrics

    async def run(self) -> None:
        """Look, again and again, until cancelled; a failure leaves what is served."""
        while True:
            pause = self._source.interval if await self.look() else RETRY
            await asyncio.sleep(pause)

    async def look(self) -> bool:
        """Take up what there is; whether that could be done."""
        try:
            changed = self._identity.take_up(*await self._source.pair())
        except (ClusterError, Unreadable) as error:
            self._metrics.certificates.labels("failed").inc()
            log.error("certificate not renewed", extra={"error": str(error)})
            return False
        self._metrics.certificates.labels("loaded" if changed else "unchanged").inc()
        if changed and self._identity.end is not None:
            self._metrics.expiry.set(self._identity.end.timestamp())
            log.info("certificate taken up", extra={"until": self._identity.end})
        return True


def packed(kept: Kept) -> Contents:
    """The contents of the Secret; also those of cert-manager's kind."""
    return {
        "ca.crt": kept.bundle,
        "ca.key": pem_of_key(kept.ca.key),
        "tls.crt": pem(kept.serving.certificate),
        "tls.key": pem_of_key(kept.serving.key),
    }


def unpacked(contents: Contents) -> Kept | None:
    """What `packed` made; None, with a line in the log, where it is something else."""
    if not contents:
        return None
    try:
        _, *older = certificates(contents["ca.crt"])
        ca = pair(contents["ca.crt"], contents["ca.key"])
        serving = pair(contents["tls.crt"], contents["tls.key"])
    except (KeyError, Unreadable) as error:
        log.warning("certificate unreadable, so it is made anew", extra={"error": repr(error)})
        return None
    return Kept(ca=ca, older=tuple(older), serving=serving)
