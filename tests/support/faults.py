"""What else a network and a store do to those in between: uploads that end early, a storm of
refusals that passes, bytes that come a few at a time. A FaultProxy does it on its connections."""

import asyncio
import re
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import Literal

from support.faultproxy import PIECE, Link, Passing, Reset

REQUEST = re.compile(rb"([A-Z]+) /")
NOT_LINGERING = pack("ii", 1, 0)
EVERYTHING = 1 << 60

Ending = Literal["close", "half-close", "reset"]


class CutUploads(Passing):
    """The first `times` uploads that are longer end at byte `at`, head included.

    A half-close ends them in order, and lets through what is answered.
    """

    def __init__(self, at: int, ending: Ending, times: int = 1) -> None:
        self.left = times
        self._at = at
        self._ending = ending

    def link(self) -> Link:
        return self

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        room = EVERYTHING
        while piece := await reader.read(PIECE):
            if (request := REQUEST.match(piece)) is not None:
                room = self._at if request[1] == b"PUT" else EVERYTHING
            if self.left and len(piece) > room:
                self.left -= 1
                writer.write(piece[:room])
                await self._end(writer)
                return
            room -= len(piece)
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        """Raises Reset where the client's side ends as well."""
        await writer.drain()
        if self._ending == "half-close":
            writer.write_eof()
            return
        if self._ending == "reset":
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, NOT_LINGERING)
        writer.close()
        await writer.wait_closed()
        raise Reset


class LostAnswers:
    """The first `times` that something is asked for by one of these methods it is done, and the
    connection ends before the answer."""

    def __init__(self, *methods: bytes, times: int) -> None:
        self.left = times
        self.methods = methods

    def link(self) -> Link:
        return LostAnswer(self)


class LostAnswer(Passing):
    """A connection that ends so, where there is one left to lose."""

    def __init__(self, lost: LostAnswers) -> None:
        self._lost = lost
        self._asked = b""

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            if (request := REQUEST.match(piece)) is not None:
                self._asked = request[1]
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            consent = piece.startswith(b"HTTP/1.1 100")
            if self._lost.left and self._asked in self._lost.methods and not consent:
                self._lost.left -= 1
                raise Reset
            writer.write(piece)
            await writer.drain()
        writer.close()


class Refusals:
    """The first `times` connections get no further than to this answer."""

    def __init__(self, answer: bytes, times: int) -> None:
        self.left = times
        self._answer = answer

    def link(self) -> Link:
        if not self.left:
            return Passing()
        self.left -= 1
        return Refused(self._answer)


class Refused:
    """A connection whose first request is answered by the proxy, and that is all."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._asked = asyncio.Event()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(PIECE)
        self._asked.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._asked.wait()
        writer.write(self._answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        raise Reset


class Sluice(Passing):
    """Lets bytes through while it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def link(self) -> Link:
        return self

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            await self.open.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()


class Drip(Passing):
    """So many bytes at a time, with a pause before there are more."""

    def __init__(self, size: int, pause_seconds: float) -> None:
        self._size = size
        self._pause_seconds = pause_seconds

    def link(self) -> Link:
        return self

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(self._size):
            writer.write(piece)
            await writer.drain()
            if len(piece) == self._size:
                await asyncio.sleep(self._pause_seconds)
        writer.close()
