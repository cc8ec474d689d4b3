"""Where configuration comes from: a file that the operator writes, or manifests rendered here."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from pannier_gateway.config import documents, model, resources
from pannier_gateway.config.documents import Files
from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.config.problems import ConfigAbsent, ConfigError, ManifestErrors
from pannier_gateway.config.render import Reason, Verdict, render
from pannier_gateway.config.resources import Bucket, Manifests, Usecase, changes

HINT = "--manifests takes manifests"

log = logging.getLogger("pannier.config")


class LeftOut(Struct, frozen=True):
    """A resource left out, and why. `usecase`: the name in URLs that nothing answers to for it."""

    resource: str
    reason: Reason
    message: str
    usecase: str | None = None

    def __str__(self) -> str:
        return f"{self.resource}: {self.reason}: {self.message}"


class Found(Struct, frozen=True):
    """What a source holds: a configuration, and what had to be left out of it.

    Of manifests also what they declare, by kind and name, and the contents of Secrets and
    ConfigMaps, by `namespace/name` and key.
    """

    config: GatewayConfig
    refused: tuple[LeftOut, ...] = ()
    declared: Mapping[tuple[type, str], Usecase | Bucket] = {}
    contents: Mapping[str, Mapping[str, bytes]] = {}

    @property
    def served(self) -> set[str]:
        """The resources that were not left out."""
        every = {f"{kind.__name__} {key}" for kind, key in self.declared}
        return every - {each.resource for each in self.refused}


NOTHING = Found(GatewayConfig(generation=0, buckets={}, usecases={}))


class Source(Protocol):
    """Where configuration comes from. Both methods raise ConfigError and may block."""

    @property
    def path(self) -> Path: ...

    @property
    def patient(self) -> bool:
        """Whether a first content that cannot be used is waited out."""
        ...

    def read(self) -> Files: ...

    def parse(self, files: Files, before: Found) -> Found:
        """What `files` hold, as a change of what has been in force `before`."""
        ...


class ConfigFile:
    """A configuration as the operator writes it: a gateway may well be there before it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def patient(self) -> bool:
        return not self.path.is_dir()

    def read(self) -> Files:
        try:
            return ((str(self.path), self.path.read_bytes()),)
        except FileNotFoundError as error:
            raise ConfigAbsent(f"waiting for {self.path}, written by the operator") from error
        except IsADirectoryError as error:
            raise ConfigError(f"{self.path}: --config takes a file ({HINT})") from error
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error

    def parse(self, files: Files, _: Found) -> Found:
        ((_name, data),) = files
        try:
            return Found(model.parse(data))
        except ConfigError as error:
            wrong = "this is no configuration but a manifest" if b"apiVersion" in data else error
            raise ConfigError(f"{self.path}: {wrong} ({HINT})") from error


class ManifestSource:
    """A file or directory of manifests, rendered here; the generation counts what was accepted.

    A refused resource is left out, unless it is being served: then the whole change waits, for a
    mistake should not take away what works. So does one that changes what a cluster would not let
    change: a Usecase whose bucketRef moves would lose sight of its objects.
    """

    patient = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Files:
        return documents.read(self.path)

    def parse(self, files: Files, before: Found) -> Found:
        manifests = resources.parse_files(files)
        declared = {(type(each), each.metadata.key): each for each in manifests.resources}
        kept = before.declared.keys() & declared.keys()
        if moved := [p for key in kept for p in changes(before.declared[key], declared[key])]:
            raise ManifestErrors(moved)
        generation = before.config.generation + 1
        config, verdicts = render(manifests.buckets, manifests.usecases, generation)
        refused = _refused(manifests, verdicts)
        if lost := [each for each in refused if each.resource in before.served]:
            raise ConfigError("\n".join(map(str, lost)))
        _tell(refused, manifests.ignored)
        return Found(config, refused, declared, _contents(manifests))


def source_of(manifests: Path | None, config: Path | None) -> ManifestSource | ConfigFile:
    """The one that is given."""
    if manifests is not None:
        return ManifestSource(manifests)
    assert config is not None  # settings are one or the other
    return ConfigFile(config)


def _tell(refused: Iterable[LeftOut], ignored: Iterable[str]) -> None:
    for each in refused:
        fields = {"resource": each.resource, "reason": each.reason, "error": each.message}
        log.warning("resource refused", extra=fields)
    for note in ignored:
        log.info("document ignored", extra={"document": note})


def _contents(manifests: Manifests) -> dict[str, dict[str, bytes]]:
    """What Buckets may name. Where a Secret and a ConfigMap share a name, the Secret's keys win."""
    secrets, config_maps = manifests.secrets, manifests.config_maps
    names = config_maps.keys() | secrets.keys()
    return {name: config_maps.get(name, {}) | secrets.get(name, {}) for name in names}


def _refused(manifests: Manifests, verdicts: tuple[Verdict, ...]) -> tuple[LeftOut, ...]:
    in_urls = {f"Usecase {each.metadata.key}": each.wire_name for each in manifests.usecases}
    return tuple(
        LeftOut(_name(each), each.reason, each.message, in_urls.get(_name(each)))
        for each in verdicts
        if not each.accepted
    )


def _name(verdict: Verdict) -> str:
    return f"{verdict.kind} {verdict.namespace}/{verdict.name}"
