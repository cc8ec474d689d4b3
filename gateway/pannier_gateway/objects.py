"""The object service: what a usecase's policy means for put, get, head, delete and list."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pannier.protocol.expiration import Expiration
from pannier.protocol.metadata import Metadata
from pannier_gateway.ahead import Foresight
from pannier_gateway.clock import Clock
from pannier_gateway.codec import SeekTables
from pannier_gateway.codec.workers import Workers
from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.config.model import UsecaseConfig
from pannier_gateway.downloads import OutgoingBody, body_of
from pannier_gateway.expiry import Extender, Lifetimes, deadline
from pannier_gateway.metrics import Metrics
from pannier_gateway.moments import microseconds
from pannier_gateway.permit import Permit, check_ahead
from pannier_gateway.representation import Answer, Ask, answer
from pannier_gateway.stores.base import Attributes, Draft, Listing, Page, Record
from pannier_gateway.uploads import Body, Upload, UploadRules, receive


@dataclass(frozen=True, slots=True)
class Parts:
    """What every usecase's service works with."""

    clock: Clock
    workers: Workers
    metrics: Metrics
    tables: SeekTables = field(default_factory=SeekTables)


class Download(NamedTuple):
    """What to answer, and the bytes: at hand, to be streamed, or None where none are due."""

    answer: Answer
    body: OutgoingBody | None


class Objects:
    """The objects of one usecase, under the policy of one configuration."""

    def __init__(self, usecase: UsecaseConfig, permit: Permit, parts: Parts) -> None:
        self._name = usecase.name
        self._permit = permit
        self._parts = parts
        self._lifetimes = Lifetimes(usecase)
        self._rules = UploadRules.of(usecase)
        self._extender = Extender(permit.store, parts.clock)
        self._foresight = Foresight(parts.tables, compressed=self._rules.compress)

    def __repr__(self) -> str:
        return f"<Objects {self._permit}>"

    async def put(
        self, path: str, metadata: Metadata, body: Body, conditions: Conditions = UNCONDITIONAL
    ) -> Record:
        """Store what `body` brings. Raises what the policy refuses, before it reads any of it."""
        store = self._permit.to_write()
        expiration = self._lifetimes.choose(metadata.expiration)
        if body.length is not None:
            self._rules.check(body.length)
        await check_ahead(store, path, conditions)

        def draft() -> Draft:
            return drafted(metadata, upload, expiration, self._parts.clock())

        workers = self._parts.workers
        with workers.budget.lease() as room:
            upload = await receive(body, metadata, self._rules, workers, room)
            record = await store.put(path, upload, draft, conditions)
        if upload.encoding is not None and not upload.by_client:
            self._count_compression(record)
        return record

    async def get(
        self, path: str, ask: Ask, deliver: Callable[[Download], Awaitable[None]]
    ) -> None:
        """Hold the object open while `deliver` sends it.

        Raises Suspended, ObjectNotFound, and what `ask` can't be given.
        """
        store, parts = self._permit.to_read(), self._parts
        async with store.open(path, self._foresight.likely(path, ask)) as reading:
            if ask.range is not None:
                self._foresight.seen(path, reading.record)
            found = answer(reading.record, ask)
            self._extender.extend(reading.record)
            if found.status == 304:
                await deliver(Download(found, None))
            else:
                body = await body_of(reading, found, parts.workers, parts.tables)
                await deliver(Download(found, body))

    async def head(self, path: str, ask: Ask) -> Answer:
        """What `get` would answer, without the bytes. Raises what it raises."""
        record = await self._permit.to_read().head(path)
        self._extender.extend(record)
        return answer(record, ask)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        """Whether there was one. Raises Suspended, ReadOnly, PreconditionFailed."""
        return await self._permit.to_write().delete(path, conditions)

    async def list(self, listing: Listing) -> Page:
        """Raises Suspended."""
        return await self._permit.to_read().list(listing)

    def _count_compression(self, record: Record) -> None:
        original = record.attributes.original_size or 0
        self._parts.metrics.compression.add(self._name, original, record.size)


def drafted(metadata: Metadata, upload: Upload, expiration: Expiration, now: int) -> Draft:
    """What is kept of an object beside its bytes, as of `now`."""
    after = microseconds(expiration.after)
    attributes = Attributes(
        content_type=metadata.content_type,
        encoding=upload.encoding,
        by_client=upload.by_client,
        original_size=upload.told.original_size,
        decodable=upload.told.decodable,
        policy=expiration.policy,
        after=after,
        origin=metadata.origin,
        filename=metadata.filename,
        custom=metadata.custom,
    )
    return Draft(now, deadline(now, after), attributes)
