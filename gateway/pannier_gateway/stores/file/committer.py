"""Group commit: one thread takes all changes that have gathered and makes them durable together."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread

from pannier_gateway.clock import Clock
from pannier_gateway.errors import PannierError, StoreUnavailable
from pannier_gateway.stores.file import index
from pannier_gateway.stores.file.batch import Batch, Change, Verdict
from pannier_gateway.stores.file.body import RESERVE, BodyFolder
from pannier_gateway.stores.file.place import Place
from pannier_gateway.stores.file.row import Row

log = logging.getLogger("pannier.store")

MOST_IN_A_BATCH = 512
WORTH_GIVING_BACK = 1024 * 1024  # bytes
Waiting = tuple[Change, "asyncio.Future[Verdict]"]
Answer = tuple[Waiting, Verdict]


class Committer:
    """Owns the index's writing side. `submit` returns once the change is committed."""

    def __init__(
        self, connection: sqlite3.Connection, bodies: BodyFolder, place: Place, clock: Clock
    ) -> None:
        self._connection = connection
        self._bodies = bodies
        self._place = place
        self._clock = clock
        self._gathered: list[Waiting] = []
        self._queue: SimpleQueue[list[Waiting] | None] = SimpleQueue()
        self._ended = False
        self._remover = ThreadPoolExecutor(1, thread_name_prefix="pannier-remove")
        self._thread = Thread(target=self._run, name="pannier-commit", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Committer {len(self._gathered)} gathered, {self._queue.qsize()} handed over>"

    async def submit(self, change: Change) -> Row | bool:
        """Raises what the change was refused for, StoreFull or StoreUnavailable."""
        if self._ended:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[Verdict] = loop.create_future()
        if not self._gathered:  # the other changes of this turn of the loop come along
            loop.call_soon(self._hand_over)
        self._gathered.append((change, verdict))
        outcome = await verdict
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def end(self) -> None:
        """Take no more; what was submitted is still committed."""
        self._ended = True
        self._hand_over()
        self._queue.put(None)

    def close(self) -> None:
        """Wait for the end of what has ended. Blocks."""
        self._thread.join()
        self._remover.shutdown()
        self._connection.close()

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        while (waiting := self._queue.get()) is not None:
            ended = self._join_others(waiting)
            for start in range(0, len(waiting), MOST_IN_A_BATCH):
                self._answer(waiting[start : start + MOST_IN_A_BATCH])
            if ended:
                return

    def _join_others(self, waiting: list[Waiting]) -> bool:
        """Add what was handed over meanwhile; whether the end was among it."""
        while len(waiting) < MOST_IN_A_BATCH:
            try:
                following = self._queue.get_nowait()
            except Empty:
                return False
            if following is None:
                return True
            waiting += following
        return False

    def _answer(self, waiting: Sequence[Waiting]) -> None:
        try:
            verdicts, removable = self._commit([change for change, _ in waiting])
        except Exception:  # the thread's outermost loop: who waits must hear, and the next go on
            log.exception("commit crashed")
            verdicts = [StoreUnavailable("the index failed: see the log")] * len(waiting)
            removable = []
        answers = list(zip(waiting, verdicts, strict=True))
        if removable:
            slow = {row.path for row in removable}
            late = [answer for answer in answers if answer[0][0].path in slow]
            answers = [answer for answer in answers if answer[0][0].path not in slow]
            self._remover.submit(self._remove_files, [row.body for row in removable], late)
        deliver(answers)

    def _commit(self, changes: Sequence[Change]) -> tuple[list[Verdict], list[Row]]:
        """What to answer, and whose files can go now."""
        try:
            self._place.demand()
            batch, verdicts = self._decide_and_write(changes)
            self._place.demand()  # it may have been lost meanwhile
        except sqlite3.Error as error:
            # Files that came with the changes stay: the commit may have been durable after all.
            log.error("commit failed", extra={"changes": len(changes), "error": str(error)})
            return [index.as_store_error(error)] * len(changes), []
        except StoreUnavailable as error:
            return [error] * len(changes), []
        self._give_back()
        return verdicts, batch.rows_with_files_to_remove

    def _remove_files(self, bodies: Sequence[int], answers: Sequence[Answer]) -> None:
        """Only then are they answered whose files they were: they may count on the room."""
        for body in bodies:
            try:
                self._bodies.remove(body)
            except OSError as error:  # the next start collects it
                log.warning("file not removed", extra={"body": body, "error": str(error)})
        deliver(answers)

    def _give_back(self) -> None:
        """Where the disk is short of room, the index must not sit on any that it has no use for."""
        room = self._bodies.free_bytes()
        if room >= 2 * RESERVE:
            return
        try:
            if room < RESERVE or index.emptied(self._connection) >= WORTH_GIVING_BACK:
                index.shrink(self._connection)
        except sqlite3.Error as error:  # after the next commit it is tried again
            log.warning("index not shrunk", extra={"error": str(error)})

    def _decide_and_write(self, changes: Sequence[Change]) -> tuple[Batch, list[Verdict]]:
        with transaction(self._connection) as connection:
            rows = index.rows_at(connection, list({change.path for change in changes}))
            full = self._bodies.free_bytes() < RESERVE
            batch = Batch(rows, self._clock(), full=full)
            verdicts = [verdict_on(change, batch) for change in changes]
            write(connection, batch)
        return batch, verdicts


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All that is written inside, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write(connection: sqlite3.Connection, batch: Batch) -> None:
    """The fewest statements that bring the index to where the batch ends."""
    if paths := batch.rows_to_delete:
        index.delete_rows(connection, paths)
    if old := batch.bodies_to_delete:
        index.delete_bodies(connection, old)
    if new := batch.bodies_to_write:
        index.write_bodies(connection, new)
    if rows := batch.rows_to_write:
        index.write_rows(connection, rows)


def verdict_on(change: Change, batch: Batch) -> Verdict:
    """One change that meets a damaged row must not cost the others theirs."""
    try:
        return change.apply(batch)
    except PannierError as error:
        return error


def deliver(answers: Sequence[Answer]) -> None:
    """Tell those who wait, on the event loop that they wait on."""
    if not answers:
        return
    (_, future), _ = answers[0]
    with suppress(RuntimeError):  # the loop is gone, and so are those who waited
        future.get_loop().call_soon_threadsafe(settle, answers)


def settle(answers: Sequence[Answer]) -> None:
    for (_, future), verdict in answers:
        if not future.done():
            future.set_result(verdict)
