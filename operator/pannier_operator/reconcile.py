"""From what the cluster holds to what it should hold, over and over, whatever the cause was.

News only says where to look. What is there is listed, what should be there is rendered, and what
differs is written; so a lost event, a crash in between or a second operator do no harm.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

from pannier_operator.api import USECASES, ClusterError
from pannier_operator.claims import Claims
from pannier_operator.conditions import Type, condition
from pannier_operator.configmap import published, size
from pannier_operator.metrics import Metrics
from pannier_operator.pace import Backoff
from pannier_operator.plan import plan
from pannier_operator.publish import Published, Publisher, Told, is_moot
from pannier_operator.pulse import Pulse
from pannier_operator.queue import Queue
from pannier_operator.survey import Survey
from pannier_operator.world import View, World

log = logging.getLogger("pannier.operator")

WORKERS = 16
IN_TURN = 3  # at once, where all take turns: the other workers are left for what is news


class Heard(NamedTuple):
    """What has become of an object, and when that was heard."""

    uid: str
    resource_version: str
    at: float


class Reconciler:
    """Keeps namespaces as they should be."""

    def __init__(
        self, world: World, survey: Survey, publisher: Publisher, metrics: Metrics, pulse: Pulse
    ) -> None:
        self._world = world
        self._survey = survey
        self._publisher = publisher
        self._metrics = metrics
        self._pulse = pulse
        self._claims = Claims()
        self._queue = Queue(Backoff(), at_once=IN_TURN)
        self._hinted: dict[str, float] = {}
        self._meanwhile: dict[str, list[Heard]] = {}
        metrics.watch_queue(self._queue)

    def __repr__(self) -> str:
        return f"<Reconciler {self._queue!r} {self._claims!r}>"

    def news(self, namespace: str, uid: str, resource_version: str) -> None:
        """An object in `namespace` has become `resource_version`, or (empty) is gone.

        While the namespace is worked on, it waits: it may be what the work itself writes.
        """
        heard = Heard(uid, resource_version, monotonic())
        if namespace in self._meanwhile:
            self._meanwhile[namespace].append(heard)
        else:
            self._take_note(namespace, heard)

    def _take_note(self, namespace: str, heard: Heard) -> None:
        if self._survey.is_news(namespace, heard.uid, heard.resource_version):
            self.hint(namespace, heard.at)

    def hint(self, namespace: str, at: float) -> None:
        """Something changed in `namespace` at `at`: it is looked at before all that take turns."""
        self._hinted.setdefault(namespace, at)
        self._queue.add(namespace)

    def ailing(self) -> str | None:
        """Why this process had better be started anew; None while it does its work."""
        return self._pulse.ailing(self._queue.age())

    async def run(self) -> None:
        """Reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _look(self) -> None:
        """Queue every namespace whenever all were listed, and first those with news."""
        async for views, changed in self._survey.looks():
            known = self._claims.namespaces() | self._metrics.usecases.namespaces()
            gone = known - views.keys()
            for view in (*views.values(), *(View(namespace=each) for each in gone)):
                self._claims.update(view)
            for namespace in changed:
                self.hint(namespace, monotonic())
            self._queue.add_in_turn((*views, *gone))
            self._pulse.listed()
            self._metrics.world_listed()

    async def _work(self) -> None:
        while True:
            namespace = await self._queue.get()
            with self._metrics.reconcile_seconds.time():
                await self._attempt(namespace)
            self._pulse.worked()

    async def _attempt(self, namespace: str) -> None:
        since = self._hinted.pop(namespace, None)
        try:
            with self._listening(namespace):
                writes = await self._reconcile(namespace, since)
        except ClusterError as error:
            if since is not None:
                self._hinted[namespace] = since  # before whatever was heard meanwhile
            self._count("failed")
            log.warning("reconcile failed", extra={"namespace": namespace, "error": str(error)})
            self._queue.failed(namespace, error.retry_after or 0.0)
        else:
            self._count("changed" if writes else "unchanged")
            self._queue.done(namespace)

    @contextmanager
    def _listening(self, namespace: str) -> Iterator[None]:
        """The time of the work on `namespace`: what is heard meanwhile is judged at its end."""
        heard = self._meanwhile[namespace] = []
        try:
            yield
        finally:
            del self._meanwhile[namespace]
            self._survey.worked(namespace)
            for each in heard:
                self._take_note(namespace, each)

    def _count(self, result: str) -> None:
        self._metrics.reconciles.labels(result).inc()

    async def _reconcile(self, namespace: str, since: float | None) -> int:
        """Compare and write; how many writes that took. Raises ClusterError."""
        view = self._survey.take(namespace) or await self._world.namespace(namespace)
        view = await self._world.with_config_map(view)
        for other in self._claims.update(view):
            self.hint(other, monotonic())
        planned = plan(view, published(view.config_map), self._claims.losers(namespace))
        outcome = await self._publisher.configure(view, planned.config)
        told = self._publisher.told(planned, outcome)
        self._show(namespace, told, outcome)
        writes = await self._publisher.tell(told)
        if outcome.error is not None and not is_moot(outcome.error):
            raise outcome.error
        self._time(told, since)
        return writes + outcome.written

    def _show(self, namespace: str, told: list[Told], outcome: Published) -> None:
        """Have metrics show how things stand in `namespace`."""
        ready = Counter(
            (found["status"], found["reason"])
            for each in told
            if each.planned.seen.kind == USECASES
            for found in [condition(each.status, Type.READY)]
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
            programmed = condition(each.status, Type.PROGRAMMED)["status"] == "True"
            if seen.kind == USECASES and new and programmed:
                self._metrics.programming_seconds.observe(monotonic() - since)
