"""What a manifest of each of our kinds may hold: `crds.yaml`, which a cluster is given too."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct, field

from pannier_gateway.config.documents import Document, documents
from pannier_gateway.config.schema import Schema

GROUP = "pannier.dev"
FILE = Path(__file__).with_name("crds.yaml")

_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_LOWERCASE = "a-z, 0-9, '-' and '.', such as my-team.photos"
_TEXT = Schema(type="string")
_TEXTS = Schema(type="object", additional_properties=_TEXT)
_ANYTHING = Schema()

METADATA = Schema(
    type="object",
    required=("name",),
    properties={
        "name": Schema(type="string", max_length=253, pattern=_SUBDOMAIN, description=_LOWERCASE),
        "namespace": Schema(type="string", max_length=63, pattern=_NAME, default="default"),
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "uid": _TEXT,
        "generation": Schema(type="integer", minimum=0),
        "creationTimestamp": Schema(type="string", format="date-time"),
        "resourceVersion": _TEXT,
        "deletionGracePeriodSeconds": _ANYTHING,
        "deletionTimestamp": _ANYTHING,
        "finalizers": _ANYTHING,
        "generateName": _ANYTHING,
        "managedFields": _ANYTHING,
        "ownerReferences": _ANYTHING,
        "selfLink": _ANYTHING,
    },
)


class Kind(NamedTuple):
    """What `apiVersion` and `kind` say together."""

    api_version: str
    kind: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]


class _Names(Struct, frozen=True):
    kind: str


class _VersionSchema(Struct, frozen=True):
    root: Schema = field(name="openAPIV3Schema")


class _Version(Struct, frozen=True):
    name: str
    schema: _VersionSchema


class _Definition(Struct, frozen=True):
    group: str
    names: _Names
    versions: tuple[_Version, ...]


class _Crd(Struct, frozen=True):
    spec: _Definition


def enveloped(schema: Schema) -> Schema:
    """`schema` with the fields that every kind has. A status is its controller's: not looked at."""
    envelope = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": METADATA, "status": _ANYTHING}
    return msgspec.structs.replace(
        schema,
        properties=schema.properties | envelope,
        required=("metadata", *schema.required),
    )


@cache
def schemas() -> dict[Kind, Schema]:
    """The schema of every kind and version that `crds.yaml` serves."""
    crds = [
        msgspec.convert(document.value, _Crd)
        for document in documents([(FILE.name, FILE.read_bytes())])
        if isinstance(document, Document)
    ]
    return {
        Kind(f"{crd.spec.group}/{version.name}", crd.spec.names.kind): enveloped(
            version.schema.root
        )
        for crd in crds
        for version in crd.spec.versions
    }
