"""One look at the cluster for all who wait for it: a hundred pods at once cost two lists.

Nobody is told what was so before they asked: who comes while a list is under way waits for the next
one.
"""

import asyncio
from collections.abc import Iterable

from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.server import Buckets

Listing = asyncio.Task[Iterable[Bucket]]


class SharedBuckets:
    """Buckets as `source` lists them, each namespace once at a time."""

    def __init__(self, source: Buckets) -> None:
        self._source = source
        self._waiting: dict[str, Listing] = {}
        self._under_way: dict[str, Listing] = {}

    def __repr__(self) -> str:
        return f"<SharedBuckets {len(self._under_way)} under way>"

    async def buckets(self, namespace: str) -> Iterable[Bucket]:
        """Those of `namespace`, at a moment after this call. Raises ClusterError."""
        listing = self._waiting.get(namespace)
        if listing is None:
            before = self._under_way.get(namespace)
            listing = asyncio.create_task(self._list(namespace, before))
            self._waiting[namespace] = listing
        return await asyncio.shield(listing)  # who gives up must not take it from the others

    async def _list(self, namespace: str, before: Listing | None) -> Iterable[Bucket]:
        if before is not None:
            await asyncio.wait([before])
        listing = self._under_way[namespace] = self._waiting.pop(namespace)
        try:
            return await self._source.buckets(namespace)
        finally:
            if self._under_way.get(namespace) is listing:
                del self._under_way[namespace]
