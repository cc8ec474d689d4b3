"""Bodies on their way in, kept so that they can be sent again: in memory first, then in a file.

The file has no name and goes with the process. What all uploads may take together is limited, and
so is each: one that outgrows its share goes on, only it can't be sent again from then on.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from awscrt.checksums import crc64nvme
from msgspec import Struct

from pannier_gateway.errors import Damaged
from pannier_gateway.stores.base import Buffer, Source
from pannier_gateway.threads import in_thread

MIB = 1 << 20
FEW = 8  # bodies at once that may make use of all the memory there is
BLOCK = 128 * 1024  # bytes read back at once, where there are few
DAMAGED = "the spool did not give back the bytes that it was given"


class SpoolLimits(Struct, frozen=True):
    """Bytes: of one upload in memory and in its file, and of all uploads together. `batch` is what
    gathers of one, whatever others hold, before it is written."""

    memory_each: int = MIB
    memory: int = 32 * MIB
    disk_each: int = 512 * MIB
    disk: int = 512 * MIB
    batch: int = 64 * 1024


class Spool:
    """What all uploads share: how much they may take, and how much they do."""

    def __init__(
        self,
        folder: Path,
        executor: Executor,
        limits: SpoolLimits = SpoolLimits(),  # noqa: B008  # frozen
    ) -> None:
        self.folder = folder
        self.executor = executor
        self.limits = limits
        self.memory = 0
        self.disk = 0
        self.tapes: set[Tape] = set()

    def __repr__(self) -> str:
        return f"<Spool {self.memory} bytes in memory, {self.disk} on disk>"

    @property
    def crowded(self) -> bool:
        """Whether there are many bodies: each holds something besides what is kept of it here."""
        return len(self.tapes) > FEW

    @property
    def most_memory(self) -> int:
        """Bytes, of all bodies together; many small ones have room in an eighth, too."""
        return self.limits.memory // 8 if self.crowded else self.limits.memory

    @property
    def block(self) -> int:
        """Bytes to read back at once."""
        return BLOCK // 2 if self.crowded else BLOCK


class Tape:
    """A body that can be read again from its beginning while it still comes: a Source.

    Each reader gets what has come so far, then what comes; until it has `ended` there is one at a
    time, and one that is cancelled takes nothing with it. `checksum` (CRC64NVME) and `size` are of
    what has come; `ended`: that was all.
    """

    whole: bytes | None = None

    def __init__(self, source: Source, spool: Spool, torn: Callable[[str], None]) -> None:
        self.size = 0
        self.checksum = 0
        self.replayable = True
        self.ended = False
        self._live: AsyncIterator[Buffer] = aiter(source)
        self._coming: asyncio.Future[Buffer | None] | None = None
        self._tell_torn = torn
        self._spool = spool
        self._file: IO[bytes] | None = None
        self._filed = 0
        self._tail: list[bytes] = []  # what follows the file
        self._tail_size = 0
        spool.tapes.add(self)

    def __repr__(self) -> str:
        return f"<Tape of {self.size} bytes, {self._filed} in a file>"

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        if self._coming is not None:  # left behind by the reader before
            await asyncio.wait([self._coming])
            self._coming.result()  # a body that has failed never looks like one that has ended
            self._coming = None
        if self.size:
            async with aclosing(self._checked()) as recorded:
                async for known in recorded:
                    yield known
                    del known
        while not self.ended and (piece := await self._next()) is not None:
            yield piece
            del piece  # not to be held beside the next

    async def close(self) -> None:
        """Give everything back, and leave the body; what comes is not waited for."""
        self._spool.tapes.discard(self)
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])
            if not self._coming.cancelled():
                self._coming.exception()  # whoever read has heard of it, or has left
        self._forget()
        if isinstance(self._live, AsyncGenerator):
            await self._live.aclose()

    async def _next(self) -> Buffer | None:
        """The next piece, on record by then; None: that was all."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._record_next())
        await asyncio.wait([self._coming])  # cancelled, it leaves the piece to the next reader
        piece, self._coming = self._coming.result(), None
        return piece

    async def _record_next(self) -> Buffer | None:
        try:
            piece = await anext(self._live)
        except StopAsyncIteration:
            self.ended = True
            return None
        self.size += len(piece)
        self.checksum = crc64nvme(piece, self.checksum)
        if self.replayable:
            await self._record(bytes(piece))
        return piece

    async def _record(self, piece: bytes) -> None:
        limits, spool = self._spool.limits, self._spool
        full = spool.memory + len(piece) > spool.most_memory
        size = self._tail_size + len(piece)
        if size > limits.memory_each or (full and size > limits.batch):
            await self._file_away(piece)
            return
        self._tail.append(piece)
        self._tail_size += len(piece)
        spool.memory += len(piece)

    async def _file_away(self, piece: bytes) -> None:
        """Move what is in memory to the file, and `piece` after it."""
        limits, spool = self._spool.limits, self._spool
        more = self._tail_size + len(piece)
        if self._filed + more > limits.disk_each:
            self._tear("too large")
        elif spool.disk + more > limits.disk:
            self._tear("spool full")
        else:
            spool.disk += more
            self._filed += more
            try:
                await in_thread(spool.executor, partial(self._write, [*self._tail, piece]))
            except OSError:
                self._tear("disk failed")
            self._empty_tail()

    def _write(self, pieces: list[bytes]) -> None:
        if self._file is None:
            self._spool.folder.mkdir(parents=True, exist_ok=True)
            self._file = TemporaryFile(dir=self._spool.folder, buffering=0)  # noqa: SIM115  # kept
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) :]

    def _tear(self, reason: str) -> None:
        self.replayable = False
        self._tell_torn(reason)
        self._forget()

    def _forget(self) -> None:
        self.replayable = False
        self._empty_tail()
        self._spool.disk -= self._filed
        self._filed = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _empty_tail(self) -> None:
        self._spool.memory -= self._tail_size
        self._tail, self._tail_size = [], 0

    async def _checked(self) -> AsyncGenerator[bytes, None]:
        """What is on record; the last piece only once all of it has proved to be what had come.

        Raises Damaged.
        """
        checksum, left = 0, self.size
        async with aclosing(self._recorded()) as pieces:
            async for piece in pieces:
                checksum, left = crc64nvme(piece, checksum), left - len(piece)
                if not left and checksum != self.checksum:
                    raise Damaged(DAMAGED)
                yield piece
                del piece
        if left:
            raise Damaged(DAMAGED)

    async def _recorded(self) -> AsyncGenerator[bytes, None]:
        start = 0
        while start < self._filed:
            size = min(self._spool.block, self._filed - start)
            yield await in_thread(self._spool.executor, partial(self._read, start, size))
            start += size
        for piece in self._tail:
            yield piece

    def _read(self, start: int, size: int) -> bytes:
        assert self._file is not None
        return os.pread(self._file.fileno(), size, start)
