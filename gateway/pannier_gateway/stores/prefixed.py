"""A part of a store that looks like a whole one: every path gets a prefix and loses it again."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

from msgspec.structs import replace

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.around import OpeningAround
from pannier_gateway.stores.base import (
    Buffer,
    Draft,
    Listing,
    Page,
    Reading,
    Record,
    Source,
    Store,
)


class PrefixedStore:
    """The Store seam over the paths of another store that begin with `prefix/`."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix}/"

    def __repr__(self) -> str:
        return f"<PrefixedStore {self._prefix} of {self._store!r}>"

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> "PrefixedOpening":
        return PrefixedOpening(self._store.open(self._prefix + path, ahead), self._shown)

    async def head(self, path: str) -> Record:
        return self._shown(await self._store.head(self._prefix + path))

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        return self._shown(await self._store.put(self._prefix + path, source, draft, conditions))

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        return await self._store.delete(self._prefix + path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        return await self._store.touch(self._prefix + path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        page = await self._store.list(
            replace(
                listing,
                prefix=self._prefix + listing.prefix,
                start_after=self._prefix + listing.start_after if listing.start_after else "",
            )
        )
        cut = len(self._prefix)
        return Page(
            tuple(map(self._shown, page.records)),
            tuple(folded[cut:] for folded in page.prefixes),
            None if page.next is None else page.next[cut:],
        )

    def _shown(self, record: Record) -> Record:
        return replace(record, path=record.path.removeprefix(self._prefix))


class PrefixedOpening(OpeningAround):
    """Opening an object whose record loses the prefix."""

    def __init__(
        self, opening: AbstractAsyncContextManager[Reading], shown: Callable[[Record], Record]
    ) -> None:
        self._opening = opening
        self._shown = shown

    async def __aenter__(self) -> "PrefixedReading":
        reading = await self._opening.__aenter__()
        return PrefixedReading(reading, self._shown(reading.record))


class PrefixedReading:
    """An object held open, under the path that it shows."""

    def __init__(self, reading: Reading, record: Record) -> None:
        self.record = record
        self.whole = reading.whole
        self._reading = reading

    def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        return self._reading.chunks(span)
