"""Which usecases a client may touch, by what its certificate says it is. The rules are pure."""

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import yaml
from msgspec import Struct

from pannier_gateway.errors import NotPermitted
from pannier_gateway.settings import SettingsError

ANY = "*"
CONNECTION_SECONDS = 300.0  # as long as our own clients keep one
KINDS = ("URI", "DNS")  # of alternative names that say who somebody is

Identity = tuple[str, str]  # a kind and a name, which mean something only together
PeerCertificate = Mapping[str, object]  # as ssl has it


class Client(Struct, frozen=True, forbid_unknown_fields=True):
    """`identity` is a SPIFFE id or DNS name, `spiffe://domain/path/*` all below, `*.domain` all of
    one label more. Of `usecases` the name `*` stands for all."""

    identity: str
    usecases: tuple[str, ...]

    def __post_init__(self) -> None:
        name = self.identity.removesuffix("/*") if "://" in self.identity else self.identity
        if ANY in name.removeprefix("*."):
            raise ValueError(f"identity {self.identity!r}: '*' stands behind a '/' or before a '.'")

    def is_one_of(self, identities: Iterable[Identity]) -> bool:
        kind, matches = ("URI", self._is_uri) if "://" in self.identity else ("DNS", self._is_host)
        return any(matches(name) for each, name in identities if each == kind)

    def _is_uri(self, name: str) -> bool:
        if self.identity.endswith("/*"):
            return name.startswith(self.identity[:-1])
        return name == self.identity

    def _is_host(self, name: str) -> bool:
        wanted, given = self.identity.lower(), name.lower()
        if wanted.startswith("*."):
            return given.partition(".")[2] == wanted[2:]
        return given == wanted

    def may_touch(self, usecase: str) -> bool:
        return ANY in self.usecases or usecase in self.usecases


class Clients(Struct, frozen=True, forbid_unknown_fields=True):
    """All rules; who is named by none may touch nothing."""

    clients: tuple[Client, ...]

    def check(self, certificate: PeerCertificate, usecase: str) -> None:
        """Raises NotPermitted."""
        identities = identities_of(certificate)
        known = [each for each in self.clients if each.is_one_of(identities)]
        if not any(each.may_touch(usecase) for each in known):
            names = " or ".join(name for _, name in identities)
            raise NotPermitted(
                f"{names or 'a certificate without a name'} may not touch the "
                f"usecase {usecase!r}: it takes a rule in the file of --tls-clients"
            )


def lifetime_of(certificate: PeerCertificate, now: float) -> float:
    """Seconds for which a connection may be used that was opened with it: until it ends, and not
    for so long that an authority which is trusted no more would matter."""
    left = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now
    return min(left, CONNECTION_SECONDS)


def identities_of(certificate: PeerCertificate) -> list[Identity]:
    """The names that a certificate is for, of those kinds that say who somebody is."""
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    return [(kind, name) for kind, name in names if kind in KINDS]


def read_clients(path: Path) -> Clients:
    """Raises SettingsError."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()), Clients)
    except OSError as error:
        raise SettingsError(f"--tls-clients {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates that are none are, too
        told = " ".join(str(error).split())
        raise SettingsError(f"--tls-clients {path}: {told}") from error
