"""What Buckets need to have mounted: keys of Secrets, CA bundles, claims. Names, never contents.

All Buckets of the namespace count, used or not: a Usecase that is added later finds its Secret in
pods that run already. Only the keys that a Bucket names are mounted.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from pannier_operator.injector.sidecar import CLAIM, CLAIMS_DIR, MOUNTED_DIR, SECRETS
from pannier_operator.injector.template import Json

FOLDERS = {"secret": "secrets", "configMap": "config-maps"}
DOTTED_CLAIM = f"{CLAIM}-"  # no claim begins with a dash
CERTIFICATE_KEYS = ("ca.crt", "tls.crt", "tls.key")


class _Part(Struct, frozen=True, kw_only=True, rename="camel"):
    """A block of a Bucket, which the API server has checked and given its defaults."""


class Named(_Part, frozen=True, kw_only=True):
    """A Secret with a certificate."""

    name: str


class Keyed(_Part, frozen=True, kw_only=True):
    """One key of a Secret or ConfigMap."""

    name: str
    key: str


class Credentials(_Part, frozen=True, kw_only=True):
    """A Secret with an S3 key pair."""

    name: str
    access_key_id_key: str
    secret_access_key_key: str


class Auth(_Part, frozen=True, kw_only=True):
    """Where S3 credentials come from."""

    secret_ref: Credentials | None = None


class S3(_Part, frozen=True, kw_only=True):
    """An S3 bucket."""

    auth: Auth = Auth()


class Tls(_Part, frozen=True, kw_only=True):
    """Certificates towards the store."""

    secret_ref: Named | None = None
    ca_config_map_ref: Keyed | None = None


class Upstream(_Part, frozen=True, kw_only=True):
    """Another gateway."""

    token_secret_ref: Keyed | None = None


class Filesystem(_Part, frozen=True, kw_only=True):
    """A directory."""

    claim_name: str | None = None


class Spec(_Part, frozen=True, kw_only=True):
    """Of a Bucket, what names something to mount."""

    tls: Tls = Tls()
    s3: S3 = S3()
    upstream: Upstream = Upstream()
    filesystem: Filesystem = Filesystem()


class Metadata(_Part, frozen=True, kw_only=True):
    """Of a Bucket, its name."""

    name: str


class Bucket(Struct, frozen=True, kw_only=True):
    """A Bucket, as far as its mounts go; a newer version's fields are no hindrance."""

    metadata: Metadata
    spec: Spec


def parse(items: Iterable[object]) -> tuple[Bucket, ...]:
    """Buckets as an API server lists them, without those that are older than their schema."""
    return tuple(bucket for each in items for bucket in _read(each))


def _read(item: object) -> Iterator[Bucket]:
    """The Bucket that `item` is, unless no gateway could use it: pods must not wait for that."""
    with suppress(msgspec.ValidationError):
        yield msgspec.convert(item, Bucket)


def selected(buckets: Iterable[Bucket], names: str) -> tuple[Bucket, ...]:
    """Those that a pod's `pannier.dev/buckets` names, by name."""
    wanted = names.split(",")
    found = (each for each in buckets if names == "*" or each.metadata.name in wanted)
    return tuple(sorted(found, key=lambda bucket: bucket.metadata.name))


def sources(buckets: Sequence[Bucket]) -> list[Json]:
    """What the volume of secrets is projected from. No key twice: an API server refuses that."""
    keys = dict.fromkeys(key for bucket in buckets for key in _keys(bucket))
    return [_source(*key) for key in keys]


def claims(buckets: Sequence[Bucket]) -> list[str]:
    """The claims of Filesystem Buckets, each once."""
    names = (bucket.spec.filesystem.claim_name for bucket in buckets)
    return list(dict.fromkeys(name for name in names if name is not None))


def claim_volume(claim: str) -> str:
    """A volume's name, which takes no dots and 63 characters; no two claims share one."""
    escaped = claim.replace("-", "--").replace(".", "-d")
    return f"{DOTTED_CLAIM}{escaped}" if "." in claim else f"{CLAIM}{claim}"


def volumes(buckets: Sequence[Bucket]) -> list[Json]:
    """The volumes for `buckets`."""
    projected = sources(buckets)
    found: list[Json] = [
        {"name": claim_volume(claim), "persistentVolumeClaim": {"claimName": claim}}
        for claim in claims(buckets)
    ]
    return [{"name": SECRETS, "projected": {"sources": projected}}, *found] if projected else found


def mounts(buckets: Sequence[Bucket]) -> list[Json]:
    """Where the gateway finds those volumes."""
    found: list[Json] = [
        {"name": claim_volume(claim), "mountPath": f"{CLAIMS_DIR}/{claim}"}
        for claim in claims(buckets)
    ]
    secrets: Json = {"name": SECRETS, "mountPath": MOUNTED_DIR, "readOnly": True}
    return [secrets, *found] if sources(buckets) else found


def _keys(bucket: Bucket) -> Iterable[tuple[str, str, str]]:
    """Kind, name and key of everything projected."""
    spec = bucket.spec
    if (secret := spec.tls.secret_ref) is not None:
        yield from (("secret", secret.name, key) for key in CERTIFICATE_KEYS)
    if (bundle := spec.tls.ca_config_map_ref) is not None:
        yield "configMap", bundle.name, bundle.key
    if (pair := spec.s3.auth.secret_ref) is not None:
        yield "secret", pair.name, pair.access_key_id_key
        yield "secret", pair.name, pair.secret_access_key_key
    if (token := spec.upstream.token_secret_ref) is not None:
        yield "secret", token.name, token.key


def _source(kind: str, name: str, key: str) -> Json:
    """Optional: a Secret that is late keeps its Bucket waiting, not the pod."""
    items: list[Json] = [{"key": key, "path": f"{FOLDERS[kind]}/{name}/{key}"}]
    return {kind: {"name": name, "items": items, "optional": True}}
