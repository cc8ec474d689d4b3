"""The door for manifests: what passes is a `Usecase` or `Bucket` that a cluster would accept."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from pannier_gateway.config import core, crds
from pannier_gateway.config.crds import GROUP, Kind
from pannier_gateway.config.documents import Document, Files, documents, read
from pannier_gateway.config.kinds import Bucket, Metadata, Usecase
from pannier_gateway.config.problems import ManifestErrors, Problem
from pannier_gateway.config.rules import broken, forbidden_changes
from pannier_gateway.config.schema import Schema, faults, filled

__all__ = ["Bucket", "Manifests", "Usecase", "changes", "load", "parse", "parse_files"]

USECASE = Kind(f"{GROUP}/v1alpha1", "Usecase")
BUCKET = Kind(f"{GROUP}/v1alpha1", "Bucket")

R = TypeVar("R", bound=Usecase | Bucket)


class Manifests(Struct, frozen=True, kw_only=True):
    """A set of manifests. Secrets and ConfigMaps by `namespace/name`, then by key.

    `ignored` names the documents that are of somebody else's kind.
    """

    usecases: tuple[Usecase, ...]
    buckets: tuple[Bucket, ...]
    secrets: dict[str, dict[str, bytes]]
    config_maps: dict[str, dict[str, bytes]]
    ignored: tuple[str, ...]

    @property
    def resources(self) -> tuple[Usecase | Bucket, ...]:
        """Those that are ours."""
        return *self.buckets, *self.usecases

    def __repr__(self) -> str:
        return f"<Manifests {len(self.usecases)} usecases, {len(self.buckets)} buckets>"


class _Manifest(NamedTuple):
    """A document of a kind we know, with its defaults filled in."""

    kind: Kind
    document: Document

    @property
    def schema(self) -> Schema:
        return _schemas()[self.kind]


class _Ignored(NamedTuple):
    """A document of a kind that is not ours."""

    note: str


class _Named(Struct, frozen=True):
    metadata: Metadata


def load(path: Path) -> Manifests:
    """The manifests in file or directory `path`. Raises ManifestErrors, with every problem."""
    return parse_files(read(path))


def parse_files(files: Files) -> Manifests:
    """The manifests in `files`. Raises ManifestErrors, also where none of them is for a gateway.

    That is no pedantry: a file caught between being emptied and being written has nothing in it.
    """
    manifests = parse(documents(files))
    if not manifests.usecases and not manifests.buckets:
        message = f"no Usecase and no Bucket of {GROUP} in it"
        raise ManifestErrors([Problem(files[0][0], 0, "", message)])
    return manifests


def parse(items: Iterable[Document | Problem]) -> Manifests:
    """The manifests in `items`, whose values are plain JSON such as an API server's answer.

    Raises ManifestErrors with every problem of every document, the ones given in `items` included.
    """
    entries = [entry for item in items for entry in _entries(item)]
    manifests = [entry for entry in entries if isinstance(entry, _Manifest)]
    problems = [entry for entry in entries if isinstance(entry, Problem)]
    problems += (problem for manifest in manifests for problem in _problems(manifest))
    problems += _declared_twice(manifests)
    if problems:
        raise ManifestErrors(sorted(problems, key=lambda problem: (problem.file, problem.document)))
    ignored = tuple(entry.note for entry in entries if isinstance(entry, _Ignored))
    return _gathered(manifests, ignored)


def changes(old: R, new: R) -> list[Problem]:
    """What an API server would refuse in going from `old` to `new`: fields that must not change."""
    kind = USECASE if isinstance(old, Usecase) else BUCKET
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    faults_found = forbidden_changes(_schemas()[kind], before, after)
    return [Problem(f"{kind.kind} {new.metadata.key}", 0, *fault) for fault in faults_found]


@cache
def _schemas() -> dict[Kind, Schema]:
    return crds.schemas() | core.SCHEMAS


def _entries(item: Document | Problem) -> Iterator[_Manifest | _Ignored | Problem]:
    """What `item` is; a `List` is what it lists. (A List in a List is ignored, as foreign.)"""
    if isinstance(item, Problem):
        yield item
    elif _kind(item.value) == Kind("v1", "List"):
        yield from _listed(item)
    else:
        yield _entry(item)


def _listed(document: Document) -> Iterator[_Manifest | _Ignored | Problem]:
    match document.value:
        case {"items": list(values)}:
            for index, value in enumerate(values):
                yield _entry(document._replace(value=value, path=f"items[{index}]"))
        case _:
            yield document.problem("items", "Required value: a List needs an array of items")


def _entry(document: Document) -> _Manifest | _Ignored | Problem:
    kind = _kind(document.value)
    if kind is None:
        return document.problem("", "Required value: a manifest has an apiVersion and a kind")
    schema = _schemas().get(kind)
    if schema is not None:
        return _Manifest(kind, document._replace(value=filled(schema, document.value)))
    if kind.group == GROUP:
        return document.problem("kind", f"Unsupported value: {_supported(kind)}")
    return _Ignored(str(document.problem("", f"{kind.api_version} {kind.kind}")))


def _kind(value: object) -> Kind | None:
    match value:
        case {"apiVersion": str(api_version), "kind": str(kind)}:
            return Kind(api_version, kind)
    return None


def _supported(kind: Kind) -> str:
    known = ", ".join(f"{each.api_version} {each.kind}" for each in crds.schemas())
    return f"{kind.api_version} {kind.kind}: supported values: {known}"


def _problems(manifest: _Manifest) -> list[Problem]:
    value, schema = manifest.document.value, manifest.schema
    found = list(faults(schema, value))
    found += broken(schema, value, sound=not found)
    if not found and manifest.kind in core.SCHEMAS:
        found += core.undecodable(manifest.kind, value)
    return [manifest.document.problem(*fault) for fault in found]


def _declared_twice(manifests: Iterable[_Manifest]) -> Iterator[Problem]:
    first: dict[tuple[Kind, str], Document] = {}
    for kind, document in manifests:
        key = _key(document.value)
        if key is None:
            continue
        earlier = first.setdefault((kind, key), document)
        if earlier is not document:
            place = earlier.problem("", f"{kind.kind} {key}")
            apart = "" if earlier.file == document.file else ", or give one of the files alone"
            told = f"Duplicate value: already declared in {place}; rename one of the two{apart}"
            yield document.problem("metadata.name", told)


def _key(value: object) -> str | None:
    """`namespace/name`, if both are fit to be one."""
    match value:
        case {"metadata": metadata} if not any(faults(crds.METADATA, metadata)):
            return msgspec.convert(metadata, Metadata).key
    return None


def _gathered(manifests: Iterable[_Manifest], ignored: tuple[str, ...]) -> Manifests:
    by_kind: dict[Kind, list[object]] = {kind: [] for kind in _schemas()}
    for kind, document in manifests:
        by_kind[kind].append(document.value)
    return Manifests(
        usecases=msgspec.convert(by_kind[USECASE], tuple[Usecase, ...]),
        buckets=msgspec.convert(by_kind[BUCKET], tuple[Bucket, ...]),
        secrets=_contents(core.SECRET, by_kind[core.SECRET]),
        config_maps=_contents(core.CONFIG_MAP, by_kind[core.CONFIG_MAP]),
        ignored=ignored,
    )


def _contents(kind: Kind, values: Iterable[object]) -> dict[str, dict[str, bytes]]:
    return {
        msgspec.convert(value, _Named).metadata.key: core.contents(kind, value) for value in values
    }
