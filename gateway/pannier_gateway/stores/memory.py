"""Objects in a dict: the reference that defines what the seam means. For tests and trials."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count

from pannier_gateway.clock import Clock, system_clock
from pannier_gateway.conditions import UNCONDITIONAL, Conditions, check_write
from pannier_gateway.errors import ObjectExpired, ObjectNotFound, PreconditionFailed
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.base import (
    Buffer,
    Draft,
    Listing,
    Page,
    Record,
    Source,
    common_prefix,
    resumed_prefix,
)
from pannier_gateway.stores.filling import Filling

PIECE = 256 * 1024


class MemoryReading:
    """An object in memory, held open."""

    def __init__(self, record: Record, body: bytes) -> None:
        self.record = record
        self.whole: bytes | None = body

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        view = memoryview(self.whole or b"")[span.start : span.stop]
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]


class MemoryStore:
    """The reference implementation of Store and Sweepable."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._objects: dict[str, MemoryReading] = {}
        self._versions = count(1)

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._objects)} objects>"

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[MemoryReading]:
        yield self._alive(path)

    async def head(self, path: str) -> Record:
        return self._alive(path).record

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        body = b"".join([bytes(piece) async for piece in source])
        self._check(path, conditions)
        described = draft()
        record = Record(
            path=path,
            size=len(body),
            etag=f"{next(self._versions):x}",
            created=described.created,
            expires=described.expires,
            attributes=described.attributes,
        )
        self._objects[path] = MemoryReading(record, body)
        return record

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        self._check(path, conditions)
        existed = self._find(path) is not None
        self._objects.pop(path, None)
        return existed

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        found = self._find(path)
        if found is None or found.record.etag != etag:
            return False
        old = found.record
        record = Record(path, old.size, etag, old.created, expires, old.attributes)
        self._objects[path] = MemoryReading(record, found.whole or b"")
        return True

    async def list(self, listing: Listing) -> Page:
        filling = Filling(listing.limit)
        for entry in self._entries(listing):
            if filling.full:
                return filling.page(more=True)
            filling.add(entry)
        return filling.page(more=False)

    async def sweep(self, limit: int) -> int:
        now = self._clock()
        gone = [p for p, held in self._objects.items() if held.record.expired(now)][:limit]
        for path in gone:
            del self._objects[path]
        return len(gone)

    def _entries(self, listing: Listing) -> Iterator[Record | str]:
        """What the listing shows from its start on: records and common prefixes, in order."""
        shown = resumed_prefix(listing)
        now = self._clock()
        for path in sorted(self._objects):
            record = self._objects[path].record
            told = path <= listing.start_after or (shown is not None and path.startswith(shown))
            if told or not path.startswith(listing.prefix) or record.expired(now):
                continue
            folded = common_prefix(path, listing)
            yield record if folded is None else folded
            shown = folded

    def _find(self, path: str) -> MemoryReading | None:
        found = self._objects.get(path)
        return None if found is None or found.record.expired(self._clock()) else found

    def _alive(self, path: str) -> MemoryReading:
        found = self._objects.get(path)
        if found is None:
            raise ObjectNotFound(f"no object {path!r}")
        if found.record.expired(self._clock()):
            raise ObjectExpired(f"the time of {path!r} is over")
        return found

    def _check(self, path: str, conditions: Conditions) -> None:
        found = self._find(path)
        current = None if found is None else found.record.validators
        if not check_write(conditions, current):
            raise PreconditionFailed()
