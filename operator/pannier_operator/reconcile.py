"""From what the cluster holds to what it should hold, over and over, whatever the cause was.

News only says where to look. What is there is listed, what should be there is rendered, and what
differs is written; so a lost event, a crash in between or a second operator do no harm.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from time import monotonic

from pannier_operator.api import BUCKETS, USECASES, ClusterError
from pannier_operator.claims import Claims
from pannier_operator.conditions import Type
from pannier_operator.configmap import published, size
from pannier_operator.metrics import Metrics
from pannier_operator.pace import Backoff
from pannier_operator.plan import Plan, plan
from pannier_operator.publish import Published, Publisher, Told, is_misprotected, is_moot
from pannier_operator.pulse import Pulse
from pannier_operator.queue import Queue
from pannier_operator.world import View, World

log = logging.getLogger("pannier.operator")

WORKERS = 4
RELIST_SECONDS = 1  # in which the kinds are listed one after the other


class Reconciler:
    """Keeps namespaces as they should be. `resync` seconds lie between two looks at everything."""

    def __init__(
        self,
        world: World,
        publisher: Publisher,
        metrics: Metrics,
        namespaces: Iterable[str] = (),
        resync: float = 600.0,
    ) -> None:
        self._world = world
        self._publisher = publisher
        self._metrics = metrics
        self._namespaces = tuple(namespaces)
        self._resync = resync
        self._claims = Claims()
        self._queue = Queue(Backoff(), at_once=WORKERS - 1)  # one is left for what is news
        self._snapshots: dict[str, View] = {}
        self._hinted: dict[str, float] = {}
        self._news: dict[str, list[tuple[str, str]]] = {}
        self._listing = False
        self._relisted = asyncio.Event()
        self._pulse = Pulse(resync)
        metrics.watch_queue(self._queue)

    def __repr__(self) -> str:
        return f"<Reconciler {self._queue!r} {self._claims!r}>"

    def news(self, namespace: str, uid: str, resource_version: str) -> None:
        """An object in `namespace` has become `resource_version`, or (empty) is gone."""
        if not self._world.knows(uid, resource_version):
            if self._listing:
                self._news.setdefault(namespace, []).append((uid, resource_version))
            self.hint(namespace)

    def hint(self, namespace: str) -> None:
        """Something has changed in `namespace`: it is looked at once everything was listed."""
        self._hinted.setdefault(namespace, monotonic())
        self._snapshots.pop(namespace, None)
        self._queue.add(namespace)

    def relisted(self) -> None:
        """A watch has begun anew: what was deleted before that is not told, so look soon."""
        self._relisted.set()

    def ailing(self) -> str | None:
        """Why this process had better be started anew; None while it does its work."""
        return self._pulse.ailing(self._queue.age())

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._look_at_everything()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._resync_forever())
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _resync_forever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resync * random.uniform(0.9, 1.1)):
                    await self._relisted.wait()
                await asyncio.sleep(RELIST_SECONDS)
            self._relisted.clear()
            await self._look_at_everything()

    async def _look_at_everything(self) -> None:
        """List until it succeeds, and queue every namespace with what was found in it."""
        for delay in Backoff(longest=30.0):
            try:
                await self._list_everything()
            except ClusterError as error:
                log.warning("listing failed", extra={"error": str(error)})
                await asyncio.sleep(delay)
            else:
                return

    async def _list_everything(self) -> None:
        began = monotonic()
        self._news.clear()
        self._listing = True
        try:
            views = await self._world.everything(self._namespaces)
        finally:
            self._listing = False
        for namespace in self._claims.namespaces() - views.keys():
            views[namespace] = View(namespace=namespace)
        for view in views.values():
            self._claims.update(view)
        for namespace, view in views.items():
            if all(self._world.knows(*each) for each in self._news.get(namespace, ())):
                self._snapshots[namespace] = view  # nothing has happened while it was listed
        self._queue.add_in_turn(views)
        self._pulse.listed()
        self._metrics.world_listed()
        fields = {"namespaces": len(views), "seconds": round(monotonic() - began, 3)}
        log.info("everything listed", extra=fields)

    async def _work(self) -> None:
        while True:
            namespace = await self._queue.get()
            with self._metrics.reconcile_seconds.time():
                await self._attempt(namespace)
            self._pulse.worked()

    async def _attempt(self, namespace: str) -> None:
        since = self._hinted.pop(namespace, None)
        try:
            writes = await self._reconcile(namespace, since)
        except ClusterError as error:
            if since is not None:
                self._hinted.setdefault(namespace, since)
            self._count("failed")
            log.warning("reconcile failed", extra={"namespace": namespace, "error": str(error)})
            self._queue.failed(namespace, error.retry_after or 0.0)
        else:
            self._count("changed" if writes else "unchanged")
            self._queue.done(namespace)

    def _count(self, result: str) -> None:
        self._metrics.reconciles.labels(result).inc()

    async def _reconcile(self, namespace: str, since: float | None) -> int:
        """Compare and write; how many writes that took. Raises ClusterError."""
        view = self._snapshots.pop(namespace, None) or await self._world.namespace(namespace)
        view = await self._world.with_config_map(view)
        for other in self._claims.update(view):
            self.hint(other)
        planned = plan(view, published(view.config_map), self._claims.losers(namespace))
        outcome = await self._publisher.configure(view, planned.config)
        told = self._publisher.told(planned, outcome)
        self._show(namespace, told, outcome)
        writes = await self._finish(namespace, planned, outcome, told)
        self._time(told, since)
        return writes

    async def _finish(
        self, namespace: str, planned: Plan, outcome: Published, told: list[Told]
    ) -> int:
        """Finalizers and statuses, each also where the other fails; how many writes with `outcome`.

        Raises the first ClusterError.
        """
        protected = await _settled(self._publisher.protect(planned.buckets))
        changed = {each.seen.key for each in planned.buckets if is_misprotected(each)}
        if changed and not isinstance(protected, ClusterError):
            told = [each for each in told if not _is_bucket_of(each, changed)]
            self.hint(namespace)  # they are not as they were listed any more
        statuses = await _settled(self._publisher.tell(told))
        results = (outcome.error or int(outcome.written), protected, statuses)
        for result in results:
            if isinstance(result, ClusterError) and not is_moot(result):
                raise result
        return sum(result for result in results if isinstance(result, int))

    def _show(self, namespace: str, told: list[Told], outcome: Published) -> None:
        """Have metrics show how things stand in `namespace`."""
        ready = Counter(
            (each["status"], each["reason"])
            for one in told
            if one.planned.seen.kind == USECASES
            for each in one.status["conditions"]
            if each["type"] == Type.READY
        )
        served = bool(told or outcome.config.generation)
        self._metrics.usecases.told(namespace, ready, size(outcome.config) if served else 0)

    def _time(self, told: list[Told], since: float | None) -> None:
        """Observe how long news of changed usecases took to become what gateways are told."""
        if since is None:
            return
        for each in told:
            seen = each.planned.seen
            new = seen.status.get("observedGeneration") != seen.metadata.generation
            if new and seen.kind == USECASES and each.planned.wanted is not None:
                self._metrics.programming_seconds.observe(monotonic() - since)


def _is_bucket_of(told: Told, keys: set[str]) -> bool:
    return told.planned.seen.kind == BUCKETS and told.planned.seen.key in keys


async def _settled(work: Awaitable[int]) -> int | ClusterError:
    """What `work` comes to, so that what is to follow is not kept from happening."""
    try:
        return await work
    except ClusterError as error:
        return error
