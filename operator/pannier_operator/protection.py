"""Which Buckets may not go yet: one that Usecases refer to carries a finalizer for as long."""

import logging
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager, suppress

import msgspec

from pannier_operator.api import (
    BUCKETS,
    USECASES,
    Cluster,
    ClusterError,
    Json,
    Refused,
    unchanged,
)
from pannier_operator.world import Metadata

log = logging.getLogger("pannier.operator")

FINALIZER = "pannier.dev/in-use"


def is_amiss(bucket: Metadata, in_use: bool) -> bool:
    """Whether the finalizer is missing or left over; one that is being deleted gets none."""
    if in_use:
        return FINALIZER not in bucket.finalizers and bucket.deletion_timestamp is None
    return FINALIZER in bucket.finalizers


def mended(bucket: Metadata, in_use: bool) -> list[Json]:
    """A JSON patch that puts the finalizer on or takes it off, if `bucket` is still as it was."""
    others = [each for each in bucket.finalizers if each != FINALIZER]
    finalizers = [*others, FINALIZER] if in_use else others
    return [
        unchanged(bucket.resource_version),
        {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
    ]


async def let_go(cluster: Cluster, namespaces: Collection[str]) -> None:
    """Free Buckets that are being deleted, where Usecases and their very CRD are gone.

    Without that CRD the operator does no other work. What fails is left as it is.
    """
    for scope in (*namespaces,) or (None,):
        with suppress(ClusterError):
            if await _has_no_usecases(cluster):
                await _free_deleted(cluster, scope)


async def _has_no_usecases(cluster: Cluster) -> bool:
    """Whether Usecases are not in what the cluster says it serves: a 404 may come from anywhere."""
    served = set[str]()
    for version in (await cluster.get(f"/apis/{USECASES.group}")).get("versions", ()):
        listed = await cluster.get(f"/apis/{version['groupVersion']}")
        served |= {each["name"] for each in listed.get("resources", ())}
    return BUCKETS.plural in served and USECASES.plural not in served


async def unprotect(cluster: Cluster, namespaces: Collection[str]) -> None:
    """Free all Buckets, for when no operator is there any more to do it. Raises ClusterError."""
    for scope in (*namespaces,) or (None,):
        with _unless_gone():
            async for bucket in _protected(cluster, scope):
                with _unless_gone():
                    await _free(cluster, bucket)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Pass over a 404: without the Bucket, or even their CRD, there is none to free."""
    try:
        yield
    except Refused as refusal:
        if refusal.status != 404:
            raise


async def _free_deleted(cluster: Cluster, scope: str | None) -> None:
    async for bucket in _protected(cluster, scope):
        if bucket.deletion_timestamp is not None:
            with suppress(ClusterError):  # one must not keep the others
                await _free(cluster, bucket)


async def _protected(cluster: Cluster, scope: str | None) -> AsyncIterator[Metadata]:
    async for page in cluster.pages(BUCKETS, scope):
        for item in page:
            bucket = msgspec.convert(item["metadata"], Metadata)
            if is_amiss(bucket, in_use=False):
                yield bucket


async def _free(cluster: Cluster, bucket: Metadata) -> None:
    manifest = BUCKETS.object(bucket.namespace, bucket.name)
    await cluster.patch(manifest, mended(bucket, in_use=False))
    log.info("bucket freed", extra={"bucket": f"{bucket.namespace}/{bucket.name}"})
