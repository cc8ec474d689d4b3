"""A narrow way in, for a connection on which a body comes while many others do.

A loop takes up to 256 KiB off a socket at once, and what it has taken is held until the store has
it. Where there are many bodies that is most of what a gateway holds, and to no avail.
"""

import asyncio

WIDTH = 64 * 1024  # bytes received at once


class Narrow(asyncio.BufferedProtocol):
    """Stands before a `connection` that is no BufferedProtocol, as aiohttp's are not.

    `room` is where all such connections receive.
    """

    def __init__(self, connection: asyncio.Protocol, room: memoryview) -> None:
        self._connection = connection
        self._room = room

    def __repr__(self) -> str:
        return f"<Narrow before {self._connection}>"

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._room[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()
