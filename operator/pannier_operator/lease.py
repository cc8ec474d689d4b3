"""Who of several does the work: whoever holds a Lease and keeps renewing it.

The time on a Lease is its holder's and never compared with ours: a Lease is over when it has stayed
the same for as long as it lasts, by our own clock, so clocks that disagree do no harm.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

from pannier_operator.api import LEASES, Cluster, ClusterError, Json, Refused

log = logging.getLogger("pannier.operator")

LASTS_SECONDS = 15
RENEW_SECONDS = 2
GIVE_UP_SECONDS = 10  # without a renewal: well before anybody else may take it


class LeaseLost(Exception):
    """Another may do the work now: this process must not go on."""


class LeaseName(NamedTuple):
    """Which Lease."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Candidate:
    """One process that would like to do the work."""

    def __init__(
        self,
        cluster: Cluster,
        lease: LeaseName,
        identity: str,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._cluster = cluster
        self._lease = lease
        self._identity = identity
        self._clock = clock
        self._seen: Json = {}
        self._since = clock()

    def __repr__(self) -> str:
        return f"<Candidate {self._identity} for {self._lease}>"

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Waits for the Lease, then is the time for which it is held; it is given back at the end.

        Raises LeaseLost into the block, in an ExceptionGroup, when another may have it.
        """
        try:
            while not await self._attempt():  # noqa: ASYNC110  # nobody tells us when
                await asyncio.sleep(RENEW_SECONDS)
            log.info("lease taken", extra={"lease": str(self._lease), "holder": self._identity})
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(self._keep())
                yield
                keeping.cancel()
        finally:
            await self._give_back()

    async def _keep(self) -> None:
        renewed = self._clock()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, renewed + GIVE_UP_SECONDS - self._clock())):
                    if await self._attempt():
                        renewed = self._clock()
            if self._holder() != self._identity:
                raise LeaseLost(f"lease {self._lease} was taken by {self._holder()}")
            if self._clock() - renewed >= GIVE_UP_SECONDS:
                raise LeaseLost(f"lease {self._lease} could not be renewed")

    async def _attempt(self) -> bool:
        """Take or renew the Lease, if nobody else has it."""
        try:
            found = await self._look()
            if not may_take(found, self._identity, self._clock() - self._since):
                return False
            await self._take(found)
        except ClusterError as error:
            log.warning("lease not taken", extra={"lease": str(self._lease), "error": str(error)})
            return False
        return True

    async def _take(self, found: Json) -> None:
        """Have the Lease be ours. Raises ClusterError.

        Who is told to stop meanwhile waits a moment to know whether there is one to give back.
        """
        write = self._cluster.apply if found else self._cluster.create
        lease = taken(found, self._lease, self._identity, datetime.now(UTC))
        writing = asyncio.ensure_future(write(lease))
        try:
            self._seen = await asyncio.shield(writing)
        except asyncio.CancelledError:
            with suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    self._seen = await writing
            raise

    async def _look(self) -> Json:
        """The Lease as it is; notes since when it has not changed. Empty: there is none."""
        try:
            found = await self._cluster.get(LEASES.path(self._lease.namespace, self._lease.name))
        except Refused as refusal:
            if refusal.status != 404:
                raise
            found = {}
        if found.get("spec") != self._seen.get("spec"):
            self._since = self._clock()
        self._seen = found
        return found

    async def _give_back(self) -> None:
        """Nobody then has to wait until it is over. Who cannot be reached need not be told."""
        if self._holder() == self._identity:
            free = taken(self._seen, self._lease, "", datetime.now(UTC))
            with suppress(ClusterError, TimeoutError):
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._cluster.apply(free)

    def _holder(self) -> str:
        holder = self._seen.get("spec", {}).get("holderIdentity", "")
        return str(holder)


def may_take(lease: Json, identity: str, unchanged: float) -> bool:
    """Whether `identity` may have `lease`, which has not changed for `unchanged` seconds."""
    spec = lease.get("spec", {})
    lasts = spec.get("leaseDurationSeconds", LASTS_SECONDS)
    return spec.get("holderIdentity", "") in {"", identity} or unchanged >= lasts


def taken(lease: Json, name: LeaseName, identity: str, now: datetime) -> Json:
    """`lease`, held by `identity`; the server refuses it if it is not as it was any more."""
    before, moment = lease.get("spec", {}), now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    same = before.get("holderIdentity") == identity
    metadata = lease.get("metadata", {})
    version = {key: metadata[key] for key in ("uid", "resourceVersion") if key in metadata}
    return LEASES.object(name.namespace, name.name, **version) | {
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": LASTS_SECONDS,
            "acquireTime": before.get("acquireTime", moment) if same else moment,
            "renewTime": moment,
            "leaseTransitions": before.get("leaseTransitions", 0) + (not same),
        }
    }
