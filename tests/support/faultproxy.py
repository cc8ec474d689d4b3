"""A proxy on loopback that resets some connections at a random byte, and lets others stall.

With a Hazard it is exchanges that meet that, however many of them share a connection: a client that
keeps its connections is spared nothing. What is more particular is in `faults`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import NamedTuple, Protocol

PIECE = 64 * 1024


class Trouble(NamedTuple):
    """The share of connections that are reset within so many bytes, and that stall so long."""

    resets: float = 0.1
    within: int = 1 << 20
    stalls: float = 0.01
    stall_seconds: float = 1.0


class Hazard(NamedTuple):
    """The share of exchanges that are reset, and that stall so long, in their request or in their
    answer: each half the time, at any byte of it."""

    resets: float = 0.1
    stalls: float = 0.01
    stall_seconds: float = 1.0


class Fault(Protocol):
    """What happens on each connection."""

    def link(self) -> "Link": ...


class FaultProxy:
    """Hands bytes on between those who connect to `port` and the server at `upstream`."""

    def __init__(self, upstream: int, trouble: Trouble | Hazard | Fault, dice: Random) -> None:
        self.port = 0
        self.resets = 0
        self.connections = 0
        self._upstream = upstream
        self._trouble = trouble
        self._dice = dice
        self._serving: set[asyncio.Task[object]] = set()

    @classmethod
    @asynccontextmanager
    async def run(
        cls, upstream: int, trouble: Trouble | Hazard | Fault, dice: Random
    ) -> AsyncIterator["FaultProxy"]:
        proxy = cls(upstream, trouble, dice)
        await proxy.up()
        try:
            yield proxy
        finally:
            await proxy.down()

    async def up(self) -> None:
        """Listen; again at the same port where it had listened before."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=PIECE)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    async def down(self) -> None:
        """Leave everybody, and let nobody in."""
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        connection = self._connection()
        above: list[asyncio.StreamWriter] = []
        try:
            await self._hand_on(connection, reader, writer, above)
        except* Reset:
            self.resets += 1
        except* (OSError, asyncio.CancelledError):
            pass  # each is an end as good as any other
        finally:
            for each in (writer, *above):
                each.transport.abort()
            await asyncio.sleep(0)  # in which they are closed
            self._serving.discard(task)

    async def _hand_on(
        self,
        connection: "Link",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        above: list[asyncio.StreamWriter],
    ) -> None:
        answers, asking = await asyncio.open_connection("127.0.0.1", self._upstream, limit=PIECE)
        above.append(asking)
        async with asyncio.TaskGroup() as both:
            _ = both.create_task(connection.ask(reader, asking))
            _ = both.create_task(connection.answer(answers, writer))

    def _connection(self) -> "Link":
        dice, trouble = self._dice, self._trouble
        match trouble:
            case Hazard():
                return Exchanges(dice, trouble)
            case Trouble():
                doomed = dice.random() < trouble.resets
                left = dice.randrange(1, trouble.within) if doomed else 1 << 60
                return Connection(left, dice, trouble)
            case _:
                return trouble.link()


class Reset(Exception):
    """The connection has come to its last byte."""


class Link(Protocol):
    """One connection through the proxy."""

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on what the client sends. Raises Reset."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on what the server sends. Raises Reset."""


class Passing:
    """A connection on which nothing happens."""

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._copy(reader, writer)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._copy(reader, writer)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.close()


class Connection(Passing):
    """One connection through the proxy: `left` bytes, either way, until it is reset."""

    def __init__(self, left: int, dice: Random, trouble: Trouble) -> None:
        self.left = left
        self._dice = dice
        self._trouble = trouble

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if self._dice.random() < self._trouble.stalls:
                await asyncio.sleep(self._trouble.stall_seconds)
            writer.write(piece[: max(0, self.left)])
            await writer.drain()
            self.left -= len(piece)
            if self.left <= 0:
                raise Reset
        writer.close()


class Fate:
    """What an exchange meets with, `where` (in its request or in its answer), at byte `at`."""

    def __init__(self, what: str, where: str, place: float) -> None:
        self.what = what
        self.where = where
        self._place = place  # from 0 to 1
        self._at = 0
        self._passed = 0

    def begin(self, size: int) -> None:
        """The first piece is about to be handed on, of so many bytes in all."""
        self._at = int(self._place * size)
        self._passed = 0

    def cut(self, piece: bytes) -> int | None:
        """The byte of `piece` that it happens at, if it is one of these."""
        at = self._at - self._passed
        self._passed += len(piece)
        return at if 0 <= at < len(piece) else None


class Exchanges:
    """One connection through the proxy, whose exchanges meet their fates one by one."""

    def __init__(self, dice: Random, hazard: Hazard) -> None:
        self._dice = dice
        self._hazard = hazard
        self._asking = False
        self._bodiless = False
        self._fate = self._drawn()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if not self._asking:
                self._asking, self._bodiless = True, piece.startswith(b"HEAD")
                self._fate = self._drawn()
                self._fate.begin(message_size(piece))
            await self._pass_on(piece, writer, "request")
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if piece.startswith(b"HTTP/1.1 100"):  # the answer is yet to come
                writer.write(piece)
                continue
            if self._asking:
                self._asking = False
                size = len(piece) if self._bodiless else message_size(piece)
                if self._fate.where == "answer":
                    self._fate.begin(size)
            await self._pass_on(piece, writer, "answer")
        writer.close()

    def _drawn(self) -> Fate:
        chance, hazard = self._dice.random(), self._hazard
        what = "reset" if chance < hazard.resets else "stall"
        if chance >= hazard.resets + hazard.stalls:
            what = "nothing"
        return Fate(what, self._dice.choice(("request", "answer")), self._dice.random())

    async def _pass_on(self, piece: bytes, writer: asyncio.StreamWriter, where: str) -> None:
        fate = self._fate
        at = fate.cut(piece) if fate.where == where and fate.what != "nothing" else None
        if at is not None:
            writer.write(piece[:at])
            piece = piece[at:]
            if fate.what == "reset":
                raise Reset
            await asyncio.sleep(self._hazard.stall_seconds)
        writer.write(piece)
        await writer.drain()


def message_size(beginning: bytes) -> int:
    """Bytes of the message that begins so, as far as its head tells."""
    head, _, _ = beginning.partition(b"\r\n\r\n")
    _, stated, after = head.lower().partition(b"\r\ncontent-length:")
    length = int(after.split(b"\r\n")[0]) if stated else 0
    return max(len(beginning), len(head) + 4 + length)
