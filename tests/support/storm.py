"""A write storm that ends in SIGKILL, again and again, on one directory of the file store.

The writer is a process of its own (`storm_writer`). It tells over a pipe what it begins and what
was acknowledged; the pipe outlives it. After each kill the directory is opened here, and every
object in it is read and judged.
"""

import asyncio
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from pannier_gateway.clock import system_clock
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Store
from pannier_gateway.stores.file import Durability
from support.ledger import Broken, Ledger, Object, Operation
from support.stores import body_files, file_store, paths, strays
from support.storm_writer import Dead, Done, Message, Orders, Refused, Started

TESTS = Path(__file__).parents[1]
MOST_MESSAGES = 160  # of a round, before the kill
LONGEST_START = 0.04  # seconds after which even a kill during the start has come
LONGEST_JITTER = 0.004
STUCK = 30.0  # seconds without a word, after which a writer is stuck
THOROUGH = 25  # rounds between checks of the whole index

DURABILITIES: tuple[Durability, ...] = ("full", "relaxed")


class Storm:
    """Rounds on the directory `root`. Build it with `storm`."""

    def __init__(self, root: Path, seed: int, writer: "subprocess.Popen[bytes]") -> None:
        assert writer.stdin is not None
        assert writer.stdout is not None
        self.ledger = Ledger()
        self._root = root
        self._random = random.Random(seed)
        self._orders = writer.stdin
        self._tale = Tale(writer.stdout.fileno())
        self._numbers = 1

    def __repr__(self) -> str:
        return f"<Storm {self.ledger.tally}>"

    def round(self) -> None:
        """Let a writer rage, kill it, and look. Raises Broken, or what the store raises."""
        pid = self._start()
        if self._random.random() < 0.2:
            self._listen(self._random.uniform(0, LONGEST_START))
        else:
            for _ in range(self._random.randrange(MOST_MESSAGES)):
                self._note(self._tale.next(STUCK))
            self._listen(self._random.uniform(0, LONGEST_JITTER))
        os.kill(pid, signal.SIGKILL)
        while not isinstance(message := self._tale.next(STUCK), Dead):
            self._note(message)
        asyncio.run(self._look())
        self._check_index()

    def _start(self) -> int:
        durability: Durability = self._random.choice(DURABILITIES)
        orders = Orders(str(self._root), self._random.getrandbits(32), self._numbers, durability)
        self._orders.write(msgspec.json.encode(orders) + b"\n")
        self._orders.flush()
        while not isinstance(message := self._tale.next(STUCK), Started):
            self._note(message)
        return message.pid

    def _listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._note(self._tale.next(left))
            except TimeoutError:
                return

    def _note(self, message: Message) -> None:
        match message:
            case Operation():
                self._numbers = max(self._numbers, message.number + 1)
                self.ledger.begin(message)
            case Done():
                self.ledger.done(message.number)
            case Refused():
                self.ledger.refused(message.number)
            case _:
                raise Broken(f"the writer ended by itself ({message}): its traceback says why")

    async def _look(self) -> None:
        before = set(body_files(self._root))
        async with file_store(self._root, system_clock) as store:
            found = {path: await object_at(store, path) for path in await paths(store)}
            self.ledger.settle(found)
            await store.collect_orphans()
            if left := strays(self._root):
                raise Broken(f"orphans are left: {left}")
            self.ledger.tally.orphans += len(before - set(body_files(self._root)))
            shared = [key for key in found if key.startswith("shared/")]
            await asyncio.gather(*map(store.delete, shared))
            self.ledger.forget(shared)

    def _check_index(self) -> None:
        with closing(sqlite3.connect(self._root / "index.db")) as index:
            (lost,) = index.execute(UNMATCHED).fetchone()
            if lost:
                raise Broken(f"{lost} small bodies without an object, or objects without theirs")
            if self.ledger.tally.rounds % THOROUGH == 0:
                assert index.execute("PRAGMA integrity_check").fetchone() == ("ok",)


UNMATCHED = """
SELECT count(*) FROM (SELECT body FROM objects WHERE NOT filed) AS named
FULL JOIN bodies USING (body) WHERE named.body IS NULL OR bodies.body IS NULL
"""


class Tale:
    """What comes out of the pipe, message by message."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""

    def next(self, seconds: float) -> Message:
        """The next message. Raises TimeoutError, Broken where there will be none."""
        while b"\n" not in self._rest:
            if not select.select([self._fd], [], [], seconds)[0]:
                raise TimeoutError(f"the writer has said nothing for {seconds} s")
            more = os.read(self._fd, 1 << 16)
            if not more:
                raise Broken("the writer's parent ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        message: Message = msgspec.json.decode(line, type=Message)
        return message


@contextmanager
def storm(root: Path, seed: int) -> Iterator[Storm]:
    """A storm on the directory `root`, which is made where it is missing."""
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "support.storm_writer"]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as writer:
        yield Storm(root, seed, writer)


async def object_at(store: Store, path: str) -> Object:
    """What a reader finds, all of it. Raises what reading raises."""
    async with store.open(path) as reading:
        pieces = reading.chunks(Span(0, reading.record.size))
        body = b"".join([bytes(piece) async for piece in pieces])
        return Object(int(reading.record.attributes.custom["version"]), body)


def main() -> None:
    """As many rounds as the arguments say: directory, seed, rounds."""
    root, seed, rounds = sys.argv[1:]
    with storm(Path(root), int(seed)) as raging:
        for _ in range(int(rounds)):
            raging.round()
    sys.stdout.write(f"{raging.ledger.tally}\n")


if __name__ == "__main__":
    main()
