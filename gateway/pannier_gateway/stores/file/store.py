"""The file store: small bodies in the index, large ones in files, every write in a group commit."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

from pannier_gateway.clock import Clock, system_clock
from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import Damaged, ObjectExpired, ObjectNotFound, PannierError
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Buffer, Draft, Listing, Page, Record, Source
from pannier_gateway.stores.file import index, pages
from pannier_gateway.stores.file.batch import Delete, Put, Sweep, Touch
from pannier_gateway.stores.file.body import SHARDS, BodyFolder
from pannier_gateway.stores.file.checksum import whole_checksum
from pannier_gateway.stores.file.committer import Committer
from pannier_gateway.stores.file.lock import locked
from pannier_gateway.stores.file.place import Place, at_rest, gone
from pannier_gateway.stores.file.reading import FileReading, Opening, SmallReading
from pannier_gateway.stores.file.row import Kept, Row, row_of
from pannier_gateway.threads import in_thread

log = logging.getLogger("pannier.store")

Durability = Literal["full", "relaxed"]
T = TypeVar("T")

PIECE = 64 * 1024  # bytes that one trip to a worker thread writes, at least
SMALL = 64 * 1024  # bodies up to here live in the index
COUNT_BITS = 40  # a body's number: the start of the process above, a count within it below
LOOK_SECONDS = 1.0  # between looks at whether the files are still ours
OPENING_TRIES = 10  # a reader that loses its file to a writer looks again


class FileStore:
    """Implements Store and Sweepable over one directory, which it locks.

    With `full` durability an acknowledged write survives power loss, with `relaxed` the death of
    the process only. Build it with `FileStore.start`.
    """

    def __init__(
        self, root: Path, pool: Executor, clock: Clock, durability: Durability, start: int
    ) -> None:
        sync = durability == "full"
        database = root / "index.db"
        self._root = root
        self._pool = pool
        self._clock = clock
        self._start = start
        self._numbers = count(start << COUNT_BITS)
        self._bodies = BodyFolder(root / "bodies", sync=sync)
        self._index = index.connect(database, sync=sync)
        self._scans = index.connect(database, sync=sync)
        self._scanning = Lock()
        self._place = Place([database, root / "index.db-wal", root / "bodies"])
        writing = index.connect(database, sync=sync)
        self._committer = Committer(writing, self._bodies, self._place, clock)

    def __repr__(self) -> str:
        return f"<FileStore {self._root}>"

    def __str__(self) -> str:
        kept = f"files in {self._root}"
        return f"{kept}, lost: {gone()}" if self._place.lost else kept

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        root: Path,
        pool: Executor,
        clock: Clock = system_clock,
        durability: Durability = "full",
    ) -> AsyncIterator["FileStore"]:
        """Open the store; collect in the background what a killed process left behind.

        Raises StoreUnavailable when another process holds the directory, OSError when it can't be
        written to.
        """
        with locked(root):
            start = await in_thread(pool, partial(prepared, root, sync=durability == "full"))
            store = cls(root, pool, clock, durability, start)
            chores = [asyncio.create_task(each) for each in (store._tidy_up(), store._look_on())]
            try:
                yield store
            finally:
                await store._end(chores)

    @property
    def lost(self) -> bool:
        """Whether its files are not in their place: it serves nothing until they are."""
        return not self._place.look()

    @property
    def replaced(self) -> bool:
        """Whether it is lost, and others are in their place that could be opened."""
        return (
            self._place.lost and at_rest(self._root / "index.db") and at_rest(self._root / "bodies")
        )

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> Opening:
        return Opening(lambda: self._find(path))

    async def head(self, path: str) -> Record:
        self._demand_place()
        return self._alive(path, index.find(self._index, path)).record

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        self._demand_place()
        body = next(self._numbers)
        small = source.whole if source.whole is not None and len(source.whole) <= SMALL else None
        if small is None:
            row = await self._filed(path, body, source, draft)
        else:
            kept = Kept(body, filed=False, size=len(small), checksum=whole_checksum(small))
            row = row_of(path, kept, draft())
        await self._committer.submit(Put(row, small, conditions))
        return row.record

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        self._demand_place()
        return bool(await self._committer.submit(Delete(path, conditions)))

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        self._demand_place()
        return bool(await self._committer.submit(Touch(path, etag, expires)))

    async def list(self, listing: Listing) -> Page:
        now = self._clock()
        return await self._asked(lambda connection: pages.page(connection, listing, now))

    async def sweep(self, limit: int) -> int:
        now = self._clock()
        over = await self._asked(lambda connection: index.expired(connection, now, limit))
        changes = (self._committer.submit(Sweep(path, body)) for path, body in over)
        return sum(map(bool, await asyncio.gather(*changes)))

    async def collect_orphans(self) -> int:
        """Remove body files that no object names, left by a killed process; how many there were.

        What is deleted meanwhile had a name when this began: its file is not among them.
        """
        removed = 0
        with index.snapshot(self._root / "index.db") as named:
            for shard in range(SHARDS):
                removed += await in_thread(self._pool, partial(self._collect, shard, named))
        if removed:
            log.info("orphans removed", extra={"store": str(self._root), "files": removed})
        return removed

    async def _tidy_up(self) -> None:
        try:
            await self.collect_orphans()
        except (PannierError, OSError) as error:  # orphans take room, and do no other harm
            log.warning("orphans stay", extra={"store": str(self._root), "error": str(error)})

    def _collect(self, shard: int, named: sqlite3.Connection) -> int:
        self._demand_place()
        old = [body for body in self._bodies.stored(shard) if body >> COUNT_BITS < self._start]
        orphans = set(old) - index.filed_among(named, old)
        for body in orphans:
            self._bodies.remove(body)
        return len(orphans)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._place.look()

    def _demand_place(self) -> None:
        """Raises StoreUnavailable unless the files are there, or there again."""
        if self._place.lost:
            self._place.demand()

    async def _asked(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """What the index answers to a question that takes long."""
        return await in_thread(self._pool, partial(self._scan, question))

    def _scan(self, question: Callable[[sqlite3.Connection], T]) -> T:
        self._demand_place()
        with index.IndexErrors(), self._scanning:
            return question(self._scans)

    async def _end(self, chores: Iterable[asyncio.Task[None]]) -> None:
        for chore in chores:
            chore.cancel()
        await asyncio.wait(chores)
        self._committer.end()
        await in_thread(self._pool, self._close)

    def _close(self) -> None:
        self._committer.close()
        with self._scanning:
            self._scans.close()
        self._index.close()
        self._bodies.close()

    def _find(self, path: str) -> SmallReading | FileReading:
        """The object as it is now; its file can't go away under whoever holds it open."""
        self._demand_place()
        for _ in range(OPENING_TRIES):
            found, data = index.find_whole(self._index, path)
            row = self._alive(path, found)
            if not row.filed:
                return SmallReading(row, data)
            with suppress(FileNotFoundError):
                return FileReading(row.record, self._bodies.open(row.body, row.size), self._pool)
        raise Damaged(f"the file of {path!r} is missing")

    def _alive(self, path: str, row: Row | None) -> Row:
        if row is None:
            raise ObjectNotFound(f"no object {path!r}")
        if row.expired(self._clock()):
            raise ObjectExpired(f"the time of {path!r} is over")
        return row

    async def _filed(self, path: str, body: int, source: Source, draft: Callable[[], Draft]) -> Row:
        """The row of a body that is on disk now, under a name that nobody knows yet."""
        writer = self._bodies.create(body)
        try:
            async for pieces in gathered(source):
                await in_thread(self._pool, partial(writer.append, pieces))
            await in_thread(self._pool, writer.seal)
            written = writer.checksums
            kept = Kept(body, filed=True, size=written.size, checksum=written.whole)
            return row_of(path, kept, draft())
        except BaseException:
            await in_thread(self._pool, writer.discard)
            raise


def prepared(root: Path, *, sync: bool) -> int:
    """Make a directory ready to be opened; the number of this start. Blocks.

    The index may be older than the files beside it, where it was restored: no new body may get the
    number of a file.
    """
    BodyFolder.prepare(root / "bodies", sync=sync)
    with closing(BodyFolder(root / "bodies", sync=sync)) as bodies:
        highest = bodies.highest()
    return index.prepare(root / "index.db", highest >> COUNT_BITS)


async def gathered(source: Source) -> AsyncIterator[list[Buffer]]:
    """The pieces of `source` in groups worth a trip to a worker thread."""
    pieces: list[Buffer] = []
    size = 0
    async for piece in source:
        pieces.append(piece)
        size += len(piece)
        del piece
        if size >= PIECE:
            yield pieces
            pieces, size = [], 0
    yield pieces
