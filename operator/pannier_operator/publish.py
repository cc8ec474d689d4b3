"""Doing what a plan says, where it differs: the ConfigMap, finalizers, statuses, Events.

A resource that cannot be written does not keep the others from being written.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from pannier_gateway.config.model import GatewayConfig
from pannier_operator import configmap, protection
from pannier_operator.api import BUCKETS, Cluster, ClusterError, Json, Refused, unchanged
from pannier_operator.conditions import Reason, foreign, same
from pannier_operator.events import event, nearly_full, repeated
from pannier_operator.plan import Plan, Planned
from pannier_operator.status import Failure, status
from pannier_operator.world import Seen, View

log = logging.getLogger("pannier.operator")

AT_ONCE = 6  # resources, of all namespaces: leaves room for ConfigMaps, which gateways wait for


class Published(NamedTuple):
    """What gateways are told now, whether that is new, and why it is not what it should be."""

    config: GatewayConfig
    written: bool = False
    failure: Failure | None = None
    error: ClusterError | None = None


class Told(NamedTuple):
    """A resource, and the status that it should have."""

    planned: Planned
    status: Json

    @property
    def is_news(self) -> bool:
        """Whether it does not have that one yet."""
        return not same(self.planned.seen.status, self.status)

    @property
    def is_due(self) -> bool:
        """Whether there is something to write."""
        return self.is_news or is_misprotected(self.planned)


class Publisher:
    """Writes to the cluster what differs from what was listed, and nothing else.

    `wrote` hears of each object that was changed.
    """

    def __init__(
        self,
        cluster: Cluster,
        wrote: Callable[[Json], None],
        instance: str,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._wrote = wrote
        self._instance = instance
        self._now = now
        self._places = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"<Publisher {self._instance}>"

    async def configure(self, view: View, wanted: GatewayConfig) -> Published:
        """Have the ConfigMap of `view` hold `wanted`; a failure is part of what is returned.

        Raises ClusterError where the ConfigMap has changed since it was listed.
        """
        before = configmap.published(view.config_map)
        config = configmap.successor(wanted, before)
        if _is_empty(view):
            return Published(before)
        if configmap.holds(view.config_map, config):
            return Published(config)
        if (failure := too_large(config)) is not None:
            return Published(before, failure=failure)
        try:
            await self._write_config(view, config)
        except ClusterError as error:
            return Published(before, failure=_failure(error), error=error)
        return Published(config, written=True)

    async def _write_config(self, view: View, config: GatewayConfig) -> None:
        """The ConfigMap, and an Event where its room runs out. Raises ClusterError."""
        manifest = configmap.manifest(view.namespace, config, view.config_map)
        written = await self._cluster.apply(manifest)
        self._wrote(written)
        fields = {"namespace": view.namespace, "generation": config.generation}
        log.info("configuration written", extra=fields)
        if configmap.fills_up(view.config_map, config):
            size = configmap.size(config)
            await self._report(nearly_full(written, size, self._instance, self._now()))

    def told(self, plan: Plan, published: Published) -> list[Told]:
        """What the status of each resource should be, now that `published` is what it is."""
        now = self._now()
        return [
            Told(each, status(each, plan, published.config, published.failure, now))
            for each in plan.resources
        ]

    async def tell(self, told: Iterable[Told]) -> int:
        """Write the finalizers and statuses that differ, some at once; for how many that was done.

        When all were tried, raises the first ClusterError that another attempt may mend.
        """
        due = [each for each in told if each.is_due]
        errors = await self._write_all(due)
        for error in errors:
            if not (is_moot(error) or _is_hopeless(error)):
                raise error
        return len(due) - len(errors)

    async def _write_all(self, due: Sequence[Told]) -> list[ClusterError]:
        """Try all of them; what went wrong."""
        errors: list[ClusterError] = []
        waiting = iter(due)

        async def work() -> None:
            for each in waiting:
                async with self._places:
                    try:
                        await self._write(each)
                    except ClusterError as error:
                        errors.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(due))):
                group.create_task(work())
        return errors

    async def _write(self, told: Told) -> None:
        """The finalizer, then the status, also where the former fails."""
        version, error = told.planned.seen.metadata.resource_version, None
        if is_misprotected(told.planned):
            try:
                version = await self._protect(told.planned)
            except ClusterError as refusal:
                error = refusal
        if told.is_news:
            await self._tell(told, version)
        if error is not None:
            raise error

    async def _protect(self, bucket: Planned) -> str:
        """The resourceVersion that it has then."""
        operations = protection.mended(bucket.seen.metadata, bucket.in_use)
        written = await self._cluster.patch(_named(bucket.seen), operations)
        self._wrote(written)
        return str(written["metadata"]["resourceVersion"])

    async def _tell(self, told: Told, version: str) -> None:
        seen, after = told.planned.seen, told.status
        news = event(seen, after, self._instance, self._now())
        try:
            written = await self._applied(told, version)
        except Refused as refusal:
            if refusal.invalid:
                log.warning("status refused", extra={"error": refusal.message})
                if news is not None:
                    await self._report(repeated(news))
            raise
        if others := foreign(written["status"], after):  # which an apply leaves to whose they are
            operations = _without(others, written["metadata"]["resourceVersion"])
            written = await self._cluster.patch(_named(seen), operations, "/status")
        self._wrote(written)
        if news is not None:
            await self._report(news)

    async def _applied(self, told: Told, version: str) -> Json:
        """What the object is with its status; one that fits no schema is replaced whole."""
        seen, after = told.planned.seen, told.status
        named = _named(seen, uid=seen.metadata.uid, resourceVersion=version)
        try:
            return await self._cluster.apply(named | {"status": after}, "/status")
        except Refused as refusal:
            if not refusal.misshapen:
                raise
        operations = [unchanged(version), {"op": "add", "path": "/status", "value": after}]
        return await self._cluster.patch(_named(seen), operations, "/status")

    async def _report(self, news: Json) -> None:
        """An Event is for people who look on: one that is lost is not worth another attempt."""
        try:
            await self._cluster.create(news)
        except ClusterError as error:
            if not (isinstance(error, Refused) and error.status == 409):
                log.warning("event lost", extra={"error": str(error), "note": news["note"]})


def is_misprotected(planned: Planned) -> bool:
    """Whether it is a Bucket whose finalizer is missing or left over."""
    seen = planned.seen
    return seen.kind == BUCKETS and protection.is_amiss(seen.metadata, planned.in_use)


def _is_empty(view: View) -> bool:
    return not view.usecases and not view.buckets and view.config_map is None


def too_large(config: GatewayConfig) -> Failure | None:
    """What to say where `config` has no room in a ConfigMap; None: it has."""
    size = configmap.size(config)
    if size <= configmap.LIMIT_BYTES:
        return None
    return Failure(
        Reason.CONFIG_TOO_LARGE,
        f"the configuration of the namespace has {size:,} bytes, more than the"
        f" {configmap.LIMIT_BYTES:,} that a ConfigMap has room for:"
        " move usecases to another namespace",
    )


def _failure(error: ClusterError) -> Failure:
    """What to say of a ConfigMap that was not written. Raises `error` if it was not as listed."""
    if isinstance(error, Refused) and error.status == 409:
        raise error
    return Failure(Reason.WRITE_FAILED, f"the ConfigMap cannot be written: {error}")


def _named(seen: Seen, **metadata: object) -> Json:
    """The beginning of a write; with uid and resourceVersion, to just this object as it is."""
    return seen.kind.object(seen.metadata.namespace, seen.metadata.name, **metadata)


def _without(fields: Iterable[str], version: str) -> list[Json]:
    """A JSON patch that takes `fields` off a status that is still as it was."""
    removals: list[Json] = [{"op": "remove", "path": f"/status/{field}"} for field in fields]
    return [unchanged(version), *removals]


def is_moot(error: ClusterError) -> bool:
    """What was to be written to is gone, or its namespace is on its way out."""
    return isinstance(error, Refused) and (error.status == 404 or error.ending)


def _is_hopeless(error: ClusterError) -> bool:
    """What was to be written to fits no schema, and cannot be written to until it does."""
    return isinstance(error, Refused) and error.invalid
