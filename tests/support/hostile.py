"""Stores that are hard to live with. Slow and choppy ones keep every promise of the seam; one that
breaks fails as a disk or a network does; a fickle one breaks the seam's first promise."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.around import StoreAround
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

TURNS = 3  # of the event loop, that a slow store lets pass
CHOPS = (0, 1, 7, 4096, 0, 65_535, 262_144, 3)  # bytes in a piece, over and over

Pieces = AsyncGenerator[Buffer, None]


class Wrapped(StoreAround):
    """A store that hands everything on; kinds of trouble override what they trouble."""

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        async with self._store.open(path, ahead) as reading:
            yield Altered(reading, self.outgoing)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        return await self._store.put(path, Incoming(source, self.incoming), draft, conditions)

    async def incoming(self, pieces: AsyncIterator[Buffer]) -> Pieces:
        """What the store is given of a body that is put."""
        async for piece in pieces:
            yield piece

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        """What the reader gets; `start` is the offset of the first byte."""
        async for piece in pieces:
            yield piece


class Altered:
    """A reading whose bytes go through other hands; none of them are at hand beforehand."""

    whole: bytes | None = None

    def __init__(self, reading: Reading, alter: Callable[[Pieces, int], Pieces]) -> None:
        self.record = reading.record
        self._reading = reading
        self._alter = alter

    async def chunks(self, span: Span) -> Pieces:
        async with (
            aclosing(self._reading.chunks(span)) as pieces,
            aclosing(self._alter(pieces, span.start)) as altered,
        ):
            async for piece in altered:
                yield piece


class Incoming:
    """A source whose bytes go through other hands."""

    def __init__(self, source: Source, alter: Callable[[AsyncIterator[Buffer]], Pieces]) -> None:
        self.whole = source.whole
        self._source = source
        self._alter = alter

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        async with aclosing(self._alter(aiter(self._source))) as altered:
            async for piece in altered:
                yield piece


class SlowStore(Wrapped):
    """Lets others go first, before and after everything it does and between any two pieces."""

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        await dawdle()
        async with super().open(path, ahead) as reading:
            await dawdle()
            yield reading

    async def head(self, path: str) -> Record:
        await dawdle()
        return await super().head(path)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        await dawdle()
        record = await super().put(path, source, draft, conditions)
        await dawdle()
        return record

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        await dawdle()
        return await super().delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        await dawdle()
        return await super().touch(path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        await dawdle()
        return await super().list(listing)

    async def incoming(self, pieces: AsyncIterator[Buffer]) -> Pieces:
        async for piece in pieces:
            await dawdle()
            yield piece

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        async for piece in pieces:
            await dawdle()
            yield piece


class ChoppyStore(Wrapped):
    """Bodies go in and come out in pieces of odd sizes, some of them empty."""

    async def incoming(self, pieces: AsyncIterator[Buffer]) -> Pieces:
        async for piece in pieces:
            for chop in chopped(piece):
                yield chop

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        async for piece in pieces:
            for chop in chopped(piece):
                yield chop


class BreakingStore(Wrapped):
    """Fails with `error` once a reader has got the bytes before offset `at` of an object."""

    def __init__(self, store: Store, at: int, error: Exception) -> None:
        super().__init__(store)
        self._at = at
        self._error = error

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        async for piece in pieces:
            stop = start + len(piece)
            if stop > self._at:
                yield memoryview(piece)[: max(0, self._at - start)]
                raise self._error
            yield piece
            start = stop


class ShortStore(Wrapped):
    """Ends bodies at offset `at` of an object, as if that were all."""

    def __init__(self, store: Store, at: int) -> None:
        super().__init__(store)
        self._at = at

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        async for piece in pieces:
            yield memoryview(piece)[: max(0, self._at - start)]
            start += len(piece)


class FickleStore(Wrapped):
    """Changes its mind at offset `at` of an object: what follows is of another version."""

    def __init__(self, store: Store, at: int) -> None:
        super().__init__(store)
        self._at = at

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        async for piece in pieces:
            honest = max(0, min(len(piece), self._at - start))
            yield bytes(piece[:honest]) + bytes(byte ^ 0xFF for byte in piece[honest:])
            start += len(piece)


async def dawdle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def chopped(piece: Buffer) -> Iterator[Buffer]:
    """`piece` in parts of the sizes in CHOPS; empty ones before, between and after."""
    view = memoryview(piece)
    while view:
        for size in CHOPS:
            yield view[:size]
            view = view[size:]
    yield b""
