"""One look at the cluster for all who wait for it: a hundred pods at once cost a few lists.

Nobody is told what was so before they asked: who comes while a list is under way waits for the next
one. Lists of a namespace do not follow each other at once: each would be for too few.
"""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.server import Buckets

PAUSE_SECONDS = 0.01

Listing = asyncio.Task[Iterable[Bucket]]


class Turn(NamedTuple):
    """A list that has begun, and what is done once the next one may."""

    listing: Listing
    pause: asyncio.Future[None]


class SharedBuckets:
    """Buckets as `source` lists them, each namespace once at a time.

    From the beginning of a list to that of the next are `pause` seconds, at least.
    """

    def __init__(self, source: Buckets, pause: float = PAUSE_SECONDS) -> None:
        self._source = source
        self._pause = pause
        self._waiting: dict[str, Listing] = {}
        self._latest: dict[str, Turn] = {}

    def __repr__(self) -> str:
        return f"<SharedBuckets {len(self._latest)} listed just now>"

    async def buckets(self, namespace: str) -> Iterable[Bucket]:
        """Those of `namespace`, at a moment after this call. Raises ClusterError."""
        listing = self._waiting.get(namespace)
        if listing is None:
            before = self._latest.get(namespace)
            listing = asyncio.create_task(self._list(namespace, before))
            self._waiting[namespace] = listing
        return await asyncio.shield(listing)  # who gives up must not take it from the others

    async def _list(self, namespace: str, before: Turn | None) -> Iterable[Bucket]:
        if before is not None:
            await asyncio.wait(before)
        loop = asyncio.get_running_loop()
        turn = self._latest[namespace] = Turn(self._waiting.pop(namespace), loop.create_future())
        loop.call_later(self._pause, turn.pause.set_result, None)
        try:
            return await self._source.buckets(namespace)
        finally:
            turn.pause.add_done_callback(lambda _: self._forget(namespace, turn))

    def _forget(self, namespace: str, turn: Turn) -> None:
        if self._latest.get(namespace) is turn:
            del self._latest[namespace]
