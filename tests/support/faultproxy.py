"""A proxy on loopback that resets some connections at a random byte, and lets others stall."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import NamedTuple

PIECE = 64 * 1024


class Trouble(NamedTuple):
    """The share of connections that are reset within so many bytes, and that stall so long."""

    resets: float = 0.1
    within: int = 1 << 20
    stalls: float = 0.01
    stall_seconds: float = 1.0


class FaultProxy:
    """Hands bytes on between those who connect to `port` and the server at `upstream`."""

    def __init__(self, upstream: int, trouble: Trouble, dice: Random) -> None:
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
        cls, upstream: int, trouble: Trouble, dice: Random
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
        connection = Connection(self._left(), self._dice, self._trouble)
        above: list[asyncio.StreamWriter] = []
        try:
            await self._hand_on(connection, reader, writer, above)
        except* (OSError, Reset, asyncio.CancelledError):
            pass  # each is an end as good as any other
        finally:
            self.resets += connection.left <= 0
            for each in (writer, *above):
                each.transport.abort()
            await asyncio.sleep(0)  # in which they are closed
            self._serving.discard(task)

    async def _hand_on(
        self,
        connection: "Connection",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        above: list[asyncio.StreamWriter],
    ) -> None:
        answers, asking = await asyncio.open_connection("127.0.0.1", self._upstream, limit=PIECE)
        above.append(asking)
        async with asyncio.TaskGroup() as both:
            _ = both.create_task(connection.copy(reader, asking))
            _ = both.create_task(connection.copy(answers, writer))

    def _left(self) -> int:
        doomed = self._dice.random() < self._trouble.resets
        return self._dice.randrange(1, self._trouble.within) if doomed else 1 << 60


class Reset(Exception):
    """The connection has come to its last byte."""


class Connection:
    """One connection through the proxy: `left` bytes, either way, until it is reset."""

    def __init__(self, left: int, dice: Random, trouble: Trouble) -> None:
        self.left = left
        self._dice = dice
        self._trouble = trouble

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if self._dice.random() < self._trouble.stalls:
                await asyncio.sleep(self._trouble.stall_seconds)
            writer.write(piece[: max(0, self.left)])
            await writer.drain()
            self.left -= len(piece)
            if self.left <= 0:
                raise Reset
        writer.close()
