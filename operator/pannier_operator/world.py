"""What the cluster holds, from complete lists only: half a list must never become configuration."""

from collections.abc import AsyncIterator, Collection, Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from pannier_gateway.config import documents, resources
from pannier_gateway.config.documents import Document
from pannier_gateway.config.kinds import Bucket, Usecase
from pannier_gateway.config.problems import ManifestErrors
from pannier_operator.api import (
    BUCKETS,
    CONFIG_MAPS,
    USECASES,
    Cluster,
    Json,
    Refused,
    Resource,
)

KINDS = (USECASES, BUCKETS, CONFIG_MAPS)
"""The kinds of objects that a `View` is made of."""

CONFIG_LABEL = "pannier.dev/config"
CONFIG_SELECTOR = f"{CONFIG_LABEL}=gateway"
CONFIG_NAME = "pannier-config"
VERSIONS = 4  # kept in mind per object: news of one write may come after the next ones


class Metadata(Struct, frozen=True, rename="camel"):
    """Of the usual metadata, what the operator looks at; times as they are written."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()


class _Marked(Metadata, frozen=True):
    """Read of ConfigMaps alone: annotations may have 256 KiB, and not of each is there room."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Object(Struct, frozen=True):
    """The spec and the status of one that is older than its CRD's schema may be anything."""

    metadata: Metadata
    spec: object = None
    status: object = None


class _ConfigMap(Struct, frozen=True):
    metadata: _Marked
    data: dict[str, str] = {}


class _Condition(Struct, frozen=True, rename="camel"):
    type: str
    status: str
    last_transition_time: datetime


class _Status(Struct, frozen=True):
    conditions: tuple[_Condition, ...] = ()


class Seen(Struct, frozen=True, kw_only=True):
    """A Usecase or Bucket as it was listed.

    `resource` None: the operator's own reading of it fails, `fault` says why; the API server's
    schema may be older or newer than the operator's. `claim` is the name that it stands for all
    the same: of a Usecase its name in URLs, of a Bucket its own. `bucket` is a Usecase's.
    """

    kind: Resource
    metadata: Metadata
    status: Json
    resource: Usecase | Bucket | None
    fault: str
    claim: str
    bucket: str

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def __repr__(self) -> str:
        return f"<{self.kind.kind} {self.key} generation={self.metadata.generation}>"


class ConfigMap(Struct, frozen=True, kw_only=True):
    """A namespace's ConfigMap `pannier-config`, as it was listed."""

    uid: str
    resource_version: str
    labels: dict[str, str]
    annotations: dict[str, str]
    data: dict[str, str]


class View(Struct, frozen=True, kw_only=True):
    """All that one namespace holds of ours."""

    namespace: str
    usecases: tuple[Seen, ...] = ()
    buckets: tuple[Seen, ...] = ()
    config_map: ConfigMap | None = None

    @property
    def is_told(self) -> bool:
        """Whether each status speaks of the spec as it is now."""
        return all(
            seen.status.get("observedGeneration") == seen.metadata.generation
            for seen in (*self.buckets, *self.usecases)
        )

    def __repr__(self) -> str:
        return f"<View {self.namespace} {len(self.usecases)} usecases {len(self.buckets)} buckets>"


class _Parsed(NamedTuple):
    generation: int
    resource: Usecase | Bucket | None
    fault: str


class World:
    """Lists, and remembers what it has parsed: a spec changes only with its generation."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._parsed: dict[str, _Parsed] = {}
        self._versions: dict[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<World of {len(self._versions)} objects>"

    def knows(self, uid: str, resource_version: str) -> bool:
        """Whether this is one of the latest versions that the object was listed or written as."""
        return resource_version in self._versions.get(uid, ())

    def wrote(self, answer: Json) -> None:
        """The answer to a write: that the object has become so is no news any more."""
        metadata = answer["metadata"]
        self._note(metadata["uid"], metadata["resourceVersion"])

    async def namespace(self, namespace: str) -> View:
        """The namespace as it is now. Raises ClusterError rather than give a part of it."""
        views = await self._views([namespace])
        return views.get(namespace) or View(namespace=namespace)

    async def everything(self, namespaces: Iterable[str]) -> dict[str, View]:
        """All namespaces that hold anything of ours, of `namespaces` or (if empty) of all."""
        views = await self._views((*namespaces,) or (None,))
        self._forget(views.values())
        return views

    async def with_config_map(self, view: View) -> View:
        """`view` with its ConfigMap, should somebody have taken off the label that lists go by."""
        if view.config_map is not None or not (view.usecases or view.buckets):
            return view
        try:
            found = await self._cluster.get(CONFIG_MAPS.path(view.namespace, CONFIG_NAME))
        except Refused as refusal:
            if refusal.status == 404:
                return view
            raise
        return replace(view, config_map=_config_map(msgspec.convert(found, _ConfigMap)))

    async def _views(self, scopes: Iterable[str | None]) -> dict[str, View]:
        usecases, buckets, config_maps = list[Seen](), list[Seen](), list[_ConfigMap]()
        for scope in scopes:
            # in this order, so that a Usecase that is listed finds a Bucket made just before it
            usecases += [each async for each in self._listed(USECASES, scope)]
            buckets += [each async for each in self._listed(BUCKETS, scope)]
            pages = self._cluster.pages(CONFIG_MAPS, scope, CONFIG_SELECTOR)
            config_maps += [msgspec.convert(it, _ConfigMap) async for page in pages for it in page]
        listed: list[Seen | _ConfigMap] = [*usecases, *buckets, *config_maps]
        for each in listed:  # at the end: of a list that broke off nothing is known
            self._note(each.metadata.uid, each.metadata.resource_version)
        return _by_namespace(usecases, buckets, config_maps)

    def _note(self, uid: str, version: str) -> None:
        if not self.knows(uid, version):
            self._versions[uid] = (*self._versions.get(uid, ())[1 - VERSIONS :], version)

    async def _listed(self, kind: Resource, scope: str | None) -> AsyncIterator[Seen]:
        async for page in self._cluster.pages(kind, scope):
            for item in page:
                yield self._seen(kind, item)

    def _seen(self, kind: Resource, item: Json) -> Seen:
        found = msgspec.convert(item, _Object)
        uid, generation = found.metadata.uid, found.metadata.generation
        parsed = self._parsed.get(uid)
        if parsed is None or parsed.generation != generation:
            parsed = self._parsed[uid] = _Parsed(generation, *_parse(kind, item))
        return _as_seen(kind, found, parsed)

    def _forget(self, views: Collection[View]) -> None:
        listed = [each for view in views for each in (*view.usecases, *view.buckets)]
        here = {each.metadata.uid for each in listed}
        self._parsed = {uid: parsed for uid, parsed in self._parsed.items() if uid in here}
        here |= {view.config_map.uid for view in views if view.config_map is not None}
        self._versions = {uid: known for uid, known in self._versions.items() if uid in here}


def of_manifests(files: documents.Files) -> dict[str, View]:
    """The manifests in `files` as if a cluster held just them. Raises ManifestErrors."""
    found = resources.parse_files(files)
    return _by_namespace(
        [_given(USECASES, each) for each in found.usecases],
        [_given(BUCKETS, each) for each in found.buckets],
        [],
    )


def _given(kind: Resource, resource: Usecase | Bucket) -> Seen:
    found = msgspec.convert(msgspec.to_builtins(resource), _Object)
    return _as_seen(kind, found, _Parsed(1, resource, ""))


def _parse(kind: Resource, item: Json) -> tuple[Usecase | Bucket | None, str]:
    """The operator's reading of `item`, or what is wrong with it."""
    manifest = {"apiVersion": kind.api_version, "kind": kind.kind} | {
        part: item[part] for part in ("metadata", "spec") if part in item
    }
    try:
        (found,) = resources.parse([Document("", 0, manifest)]).resources
    except ManifestErrors as errors:
        return None, "; ".join(str(errors).splitlines())
    return found, ""


def _as_seen(kind: Resource, found: _Object, parsed: _Parsed) -> Seen:
    spec = found.spec if isinstance(found.spec, dict) else {}
    reference = spec.get("bucketRef")
    given = spec.get("name") if kind == USECASES else None
    bucket = reference.get("name") if isinstance(reference, dict) else None
    return Seen(
        kind=kind,
        metadata=found.metadata,
        status=_status(found.status),
        resource=parsed.resource,
        fault=parsed.fault,
        claim=given if isinstance(given, str) else found.metadata.name,
        bucket=bucket if isinstance(bucket, str) else "",
    )


def _status(found: object) -> Json:
    """`found`, if it is a status at all; else it counts as none, and one is written."""
    try:
        msgspec.convert(found, _Status)
    except msgspec.ValidationError:
        return {}
    return msgspec.convert(found, Json)


def _by_namespace(
    usecases: list[Seen], buckets: list[Seen], config_maps: list[_ConfigMap]
) -> dict[str, View]:
    parts: dict[str, _Parts] = {}
    for each in usecases:
        parts.setdefault(each.metadata.namespace, _Parts()).usecases.append(each)
    for each in buckets:
        parts.setdefault(each.metadata.namespace, _Parts()).buckets.append(each)
    for found in config_maps:
        if found.metadata.name == CONFIG_NAME:
            parts.setdefault(found.metadata.namespace, _Parts()).config_map = _config_map(found)
    return {namespace: part.view(namespace) for namespace, part in parts.items()}


class _Parts(Struct):
    usecases: list[Seen] = field(default_factory=list)
    buckets: list[Seen] = field(default_factory=list)
    config_map: ConfigMap | None = None

    def view(self, namespace: str) -> View:
        return View(
            namespace=namespace,
            usecases=tuple(self.usecases),
            buckets=tuple(self.buckets),
            config_map=self.config_map,
        )


def _config_map(found: _ConfigMap) -> ConfigMap:
    return ConfigMap(
        uid=found.metadata.uid,
        resource_version=found.metadata.resource_version,
        labels=found.metadata.labels,
        annotations=found.metadata.annotations,
        data=found.data,
    )
