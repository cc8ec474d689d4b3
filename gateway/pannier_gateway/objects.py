"""The object service: what a usecase's policy means for put, get, head, delete and list."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from pannier.protocol.expiration import Expiration
from pannier.protocol.metadata import Metadata
from pannier_gateway.ahead import likely
from pannier_gateway.clock import Clock
from pannier_gateway.codec import SeekTables
from pannier_gateway.codec.budget import PASSING
from pannier_gateway.codec.workers import Workers
from pannier_gateway.conditions import UNCONDITIONAL, Conditions, check_write
from pannier_gateway.config.model import BucketConfig, UsecaseConfig
from pannier_gateway.downloads import OutgoingBody, body_of, stored
from pannier_gateway.errors import (
    ObjectNotFound,
    PreconditionFailed,
    ReadOnly,
    Suspended,
)
from pannier_gateway.expiry import Extender, Lifetimes, check_times, deadline
from pannier_gateway.metrics import Metrics
from pannier_gateway.moments import microseconds
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.representation import Answer, Ask, answer
from pannier_gateway.sealed import Sealed
from pannier_gateway.span import Span
from pannier_gateway.stores.base import (
    Attributes,
    Buffer,
    Draft,
    Listing,
    Page,
    Reading,
    Record,
    Store,
)
from pannier_gateway.uploads import Body, Upload, UploadRules, granted, receive


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

    def __init__(
        self, usecase: UsecaseConfig, bucket: BucketConfig, store: Store, parts: Parts
    ) -> None:
        self.name = usecase.name
        self._suspend = usecase.suspend
        self._read_only = bucket.access == "ReadOnly"
        self._bucket = bucket
        self._store = store
        self._parts = parts
        self._lifetimes = Lifetimes(usecase)
        self._rules = UploadRules.of(usecase)
        self._extender = Extender(store, parts.clock)

    def __repr__(self) -> str:
        return f"<Objects of {self.name} in {self._bucket.name}>"

    async def put(
        self, path: str, metadata: Metadata, body: Body, conditions: Conditions = UNCONDITIONAL
    ) -> Record:
        """Store what `body` brings. Raises what the policy refuses, before it reads any of it."""
        self._admit_write()
        expiration = self._lifetimes.choose(metadata.expiration)
        if body.length is not None:
            self._rules.check(body.length)
        if conditions.guards_writes:
            await self._check(path, conditions)

        def draft() -> Draft:
            return drafted(metadata, upload, expiration, self._parts.clock())

        workers = self._parts.workers
        with workers.budget.lease() as room:
            upload = await receive(body, metadata, self._rules, workers, room)
            record = await self._store.put(path, upload, draft, conditions)
        if upload.encoding is not None and not upload.by_client:
            self._count_compression(record)
        return record

    async def get(
        self, path: str, ask: Ask, deliver: Callable[[Download], Awaitable[None]]
    ) -> None:
        """Hold the object open while `deliver` sends it.

        Raises Suspended, ObjectNotFound, and what `ask` can't be given.
        """
        self._admit()
        tables = self._parts.tables
        ahead = likely(ask, tables.get(path), compressed=self._rules.compress)
        async with self._store.open(path, ahead) as reading:
            found = answer(reading.record, ask)
            self._extender.extend(reading.record)
            if found.status == 304:
                await deliver(Download(found, None))
            else:
                body = await body_of(reading, found, self._parts.workers, tables)
                await deliver(Download(found, body))

    async def head(self, path: str, ask: Ask) -> Answer:
        """What `get` would answer, without the bytes. Raises what it raises."""
        self._admit()
        record = await self._store.head(path)
        self._extender.extend(record)
        return answer(record, ask)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        """Whether there was one. Raises Suspended, ReadOnly, PreconditionFailed."""
        self._admit_write()
        return await self._store.delete(path, conditions)

    async def list(self, listing: Listing) -> Page:
        """Raises Suspended."""
        self._admit()
        return await self._store.list(listing)

    # What another gateway asks, whose readers and writers are its own

    def open(
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        """Hold an object open, and leave its deadline alone. Raises Suspended."""
        self._admit()
        return self._store.open(path, ahead)

    async def stored(self, reading: Reading, span: Span) -> AsyncGenerator[Buffer, None]:
        """Its bytes as they are. Raises MemoryFull."""
        return await stored(reading, span, self._parts.workers)

    async def record(self, path: str) -> Record:
        """Raises Suspended, ObjectNotFound."""
        self._admit()
        return await self._store.head(path)

    async def keep(
        self, path: str, body: Body, conditions: Conditions = UNCONDITIONAL, opening: int = 0
    ) -> Record:
        """Store what another gateway has made of a body, behind an opening of so many bytes.

        Raises what `put` raises.
        """
        self._admit_write()
        if conditions.guards_writes:
            await self._check(path, conditions)
        upload = Sealed(body, self._check_kept, opening)
        with self._parts.workers.budget.lease() as room:
            await granted(body.length, room, PASSING)
            await upload.begin()
            return await self._store.put(path, upload, upload.draft, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        """Move the deadline of a version; whether it is still there. Raises Suspended, ReadOnly."""
        self._admit_write()
        record = await self._store.head(path)
        self._lifetimes.check_deadline(record.attributes, expires, self._parts.clock())
        return await self._store.touch(path, etag, expires)

    def _check_kept(self, size: int, draft: Draft | None) -> None:
        if draft is None:
            self._rules.check(size)
            return
        attributes, now = draft.attributes, self._parts.clock()
        self._rules.check(max(size, attributes.original_size or 0))
        check_times(draft, now)
        self._lifetimes.check_deadline(attributes, draft.expires, now)

    async def _check(self, path: str, conditions: Conditions) -> None:
        """Spare the sender of a body that would be refused; the store checks again, once it has it.

        Raises PreconditionFailed.
        """
        try:
            current = (await self._store.head(path)).validators
        except ObjectNotFound:
            current = None
        if not check_write(conditions, current):
            raise PreconditionFailed()

    def _admit(self) -> None:
        if self._suspend == "All":
            raise Suspended(f"usecase {self.name!r} is suspended (spec.suspend: All)")

    def _admit_write(self) -> None:
        if self._suspend != "None":
            raise Suspended(
                f"usecase {self.name!r} takes no writes (spec.suspend: {self._suspend})"
            )
        if self._read_only:
            raise ReadOnly(f"bucket {self._bucket.name!r} is read-only (spec.access: ReadOnly)")

    def _count_compression(self, record: Record) -> None:
        original = record.attributes.original_size or 0
        self._parts.metrics.compression.add(self.name, original, record.size)


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
