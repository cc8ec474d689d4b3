"""Objects of the file store, held open while they are read."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from functools import partial

from pannier_gateway.errors import Damaged
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Record
from pannier_gateway.stores.file.body import BodyReader
from pannier_gateway.stores.file.checksum import BLOCK, whole_checksum
from pannier_gateway.stores.file.row import Row, signed
from pannier_gateway.threads import in_thread

TURN = 4 * BLOCK  # bytes after which other connections have their turn


class SmallReading:
    """A body that came with its row. Raises Damaged when it is not what was stored."""

    def __init__(self, row: Row, data: bytes | None) -> None:
        if data is None or len(data) != row.size or signed(whole_checksum(data)) != row.checksum:
            raise Damaged(f"the body of {row.path!r} fails its checksum")
        self.record = row.record
        self.whole: bytes | None = data

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        yield memoryview(self.whole or b"")[span.start : span.stop]

    def close(self) -> None:
        pass


class FileReading:
    """A body in a file, read block by block; each is checked before it is handed out.

    What is in memory already is read at once, on the event loop: a trip to a worker thread would
    cost as much as the block. The disk is waited for in a thread.
    """

    whole: bytes | None = None

    def __init__(self, record: Record, reader: BodyReader, pool: Executor) -> None:
        self.record = record
        self._reader = reader
        self._pool = pool

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        buffer = bytearray(min(BLOCK, self._reader.size))
        first = span.start - span.start % BLOCK
        for start in range(first, span.stop, BLOCK):
            block = self._reader.block_at_hand(start, buffer)
            if block is None:
                work = partial(self._reader.block, start, buffer)
                block = await in_thread(self._pool, work)
            elif start % TURN == 0:
                await asyncio.sleep(0)
            yield block[max(0, span.start - start) : span.stop - start]

    def close(self) -> None:
        self._reader.close()


class Opening:
    """`async with` of it looks the object up and holds it open."""

    def __init__(self, find: Callable[[], SmallReading | FileReading]) -> None:
        self._find = find

    async def __aenter__(self) -> SmallReading | FileReading:
        self._reading = self._find()
        return self._reading

    async def __aexit__(self, *_: object) -> None:
        self._reading.close()
