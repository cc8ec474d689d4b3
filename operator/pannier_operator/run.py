"""The operator at work in a cluster: everything it is made of, put together."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Collection
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime

from pannier_operator import handlers, protection, served
from pannier_operator.admin import listening
from pannier_operator.api import Cluster, ClusterError
from pannier_operator.cluster import Connection, KubernetesCluster
from pannier_operator.lease import Candidate
from pannier_operator.metrics import Metrics
from pannier_operator.pace import Backoff, Gate, Tokens
from pannier_operator.publish import Publisher
from pannier_operator.pulse import Pulse
from pannier_operator.reconcile import Reconciler
from pannier_operator.settings import Settings
from pannier_operator.survey import Survey
from pannier_operator.unusable import Unusable
from pannier_operator.world import World

log = logging.getLogger("pannier.operator")

CRDS_SECONDS = 30  # they may be applied in the same breath as the operator


class Operator:
    """One process. What it does is in `run`; `/livez` asks `ailing`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._connection = Connection(settings.kubeconfig)
        self._identity = f"{socket.gethostname()}-{os.getpid()}"
        self._reconciler: Reconciler | None = None

    def __repr__(self) -> str:
        return f"<Operator {self._identity} {self._reconciler!r}>"

    async def run(self) -> None:
        """Until told to end. Raises Unusable, LeaseLost, and what broke a watch for good."""
        await self._connection.load()
        async with AsyncExitStack() as stack:
            cluster = self._cluster(stack)
            await stack.enter_async_context(
                listening(self._settings.metrics_listen, self._metrics.registry, self._ailing)
            )
            await crds_served(cluster, self._settings.namespaces)
            if self._settings.lease is not None:
                # over a way of its own: a renewal waits for no other write
                candidate = Candidate(self._cluster(stack), self._settings.lease, self._identity)
                await stack.enter_async_context(candidate.leading())
            await self._work(cluster)

    async def unprotect(self) -> None:
        """Free all Buckets, once no operator works any more. Raises Unusable and ClusterError."""
        await self._connection.load()
        async with AsyncExitStack() as stack:
            await protection.unprotect(self._cluster(stack), self._settings.namespaces)

    def _cluster(self, stack: AsyncExitStack) -> KubernetesCluster:
        rate = self._settings.write_rate
        gate = Gate(Tokens(rate, burst=rate), Backoff(first=0.5, longest=30.0))
        cluster = KubernetesCluster(self._connection, gate, self._metrics.api)
        stack.push_async_callback(cluster.close)
        return cluster

    def _ailing(self) -> str | None:
        return None if self._reconciler is None else self._reconciler.ailing()

    async def _work(self, cluster: Cluster) -> None:
        self._metrics.leader.set(1)
        namespaces, resync = self._settings.namespaces, self._settings.resync
        world = World(cluster)
        survey = Survey(world, namespaces, resync)
        publisher = Publisher(cluster, world.wrote, self._identity, lambda: datetime.now(UTC))
        self._reconciler = reconciler = Reconciler(
            world, survey, publisher, self._metrics, Pulse(resync)
        )
        access, news, relisted = self._connection.access, reconciler.news, survey.relisted
        async with (
            handlers.following(access, namespaces, news, relisted) as watching,
            asyncio.TaskGroup() as group,
        ):
            working = group.create_task(reconciler.run())
            await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
            working.cancel()


async def run(settings: Settings) -> None:
    """Do the operator's work until told to end, also before it has begun; see `Operator.run`."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await Operator(settings).run()


async def crds_served(
    cluster: Cluster, namespaces: Collection[str] = (), patience: float = CRDS_SECONDS
) -> None:
    """Wait until the cluster can be reached and serves our CRDs. Raises Unusable."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    for delay in Backoff(first=0.5, longest=5.0):
        try:
            return await served.check(cluster)
        except Unusable:
            await protection.let_go(cluster, namespaces)
            if loop.time() >= deadline:
                raise
        except ClusterError as error:
            log.warning("cluster not reached", extra={"error": str(error)})
            deadline = loop.time() + patience
        await asyncio.sleep(delay)
    raise AssertionError("backoffs do not end")
