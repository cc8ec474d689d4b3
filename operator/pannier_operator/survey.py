"""Everything that the cluster holds, listed again and again: what no news told of is found so.

What was listed of a namespace serves the work on it, unless something has happened there since.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from pannier_operator.api import ClusterError
from pannier_operator.pace import Backoff
from pannier_operator.world import KINDS, View, World

log = logging.getLogger("pannier.operator")

WATCH_SECONDS = 2.0  # that the first list waits for all watches to begin, at most
RELIST_SECONDS = 1  # in which watches begin that begin together: one list does for all
_WORK = ("", "")  # stands for work among news: no object has such a version


class Found(NamedTuple):
    """What there is, by namespace, and the namespaces that changed while it was listed.

    Those with a status that is out of date come first, for somebody waits for it.
    """

    views: dict[str, View]
    changed: set[str]


class Survey:
    """Lists `namespaces`, or (if empty) all: every `resync` seconds, and when a watch begins."""

    def __init__(
        self, world: World, namespaces: Collection[str] = (), resync: float = 600.0
    ) -> None:
        self._world = world
        self._namespaces = namespaces
        self._resync = resync
        self._views: dict[str, View] = {}
        self._news: dict[str, list[tuple[str, str]]] | None = None  # None: nothing is being listed
        self._complete = False
        self._watches: set[str] = set()
        self._watching = asyncio.Event()
        self._relisted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Survey {len(self._views)} views>"

    def relisted(self, path: str) -> None:
        """The watch of `path` begins: what was deleted before that is not told, so look soon."""
        self._watches.add(path)
        if len(self._watches) == len(KINDS) * max(1, len(self._namespaces)):
            self._watching.set()
        self._relisted.set()

    def is_news(self, namespace: str, uid: str, resource_version: str) -> bool:
        """Whether to look at `namespace`, of which an object has become this or (empty) is gone.

        Before everything was listed once there is no need to: all will be looked at then.
        """
        if self._world.knows(uid, resource_version):
            return False
        if self._news is not None:
            self._news.setdefault(namespace, []).append((uid, resource_version))
        self._views.pop(namespace, None)
        return self._complete

    def take(self, namespace: str) -> View | None:
        """The view of `namespace` for work that begins; None: something has happened since."""
        view = self._views.get(namespace)
        self.worked(namespace)
        return view

    def worked(self, namespace: str) -> None:
        """Work on `namespace` has begun or ended.

        What was listed by then may be older than what the work has seen and written: it is dropped.
        """
        self._views.pop(namespace, None)
        if self._news is not None:
            self._news.setdefault(namespace, []).append(_WORK)

    async def looks(self) -> AsyncIterator[Found]:
        """Everything, each time that it was listed.

        The first list waits for the watches, for each that begins asks for another one.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await self._watching.wait()
        while True:
            self._relisted.clear()
            yield await self._listed()
            await self._until_due()

    async def _until_due(self) -> None:
        """Until `resync` seconds are over, or a moment after a watch has begun."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._resync * random.uniform(0.9, 1.1)):
                await self._relisted.wait()
            await asyncio.sleep(RELIST_SECONDS)

    async def _listed(self) -> Found:
        """List until it succeeds."""
        for delay in Backoff(longest=30.0):
            try:
                return await self._attempt()
            except ClusterError as error:
                log.warning("listing failed", extra={"error": str(error)})
                await asyncio.sleep(delay)
        raise AssertionError("backoffs do not end")

    async def _attempt(self) -> Found:
        began, news = monotonic(), dict[str, list[tuple[str, str]]]()
        self._news = news
        try:
            views = await self._world.everything(self._namespaces)
        finally:
            self._news = None
        self._complete = True
        changed = {namespace for namespace, each in news.items() if not self._is_known(each)}
        self._views = {key: view for key, view in views.items() if key not in changed}
        fields = {"namespaces": len(views), "seconds": round(monotonic() - began, 3)}
        log.info("everything listed", extra=fields)
        return Found(dict(sorted(views.items(), key=lambda item: item[1].is_told)), changed)

    def _is_known(self, news: list[tuple[str, str]]) -> bool:
        return all(self._world.knows(*each) for each in news)
