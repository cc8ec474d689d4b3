"""How TLS gets what a connection receives: little by little.

A loop's TLS keeps what it takes off its socket until it is decrypted, in a buffer of the
connection's own and then in another, and both stay as large as they have ever been: half a megabyte
for each stream. So long bodies are received into a buffer that all connections share, and go
through TLS in sips, which gather behind it.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

SIP = 32 * 1024  # bytes of what is no long body
SIPS = 4  # that a gulp goes in: each costs 5 µs, and TLS keeps as much as the largest
RECORD = 17 * 1024  # bytes that TLS may have kept of the gulp before: it decrypts whole records


class Strait(asyncio.BufferedProtocol):
    """Stands between a transport and the TLS on it.

    `gulp`: bytes of a long body to be received at once into `scratch`, after which whoever reads
    is told that they have `gathered`; 0: there is none.
    """

    def __init__(self, scratch: memoryview) -> None:
        self.gulp = 0
        self.gathered: Callable[[], None]
        self._scratch = scratch
        self._tls: asyncio.BufferedProtocol | None = None

    def __repr__(self) -> str:
        return f"<Strait, {self.gulp} bytes at once>"

    async def encrypt(
        self, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, name: str
    ) -> None:
        """Have TLS stand between this transport and `protocol`. Raises OSError, also for TLS."""
        below = self.below
        if below.is_closing():
            raise ConnectionAbortedError("it speaks before it is spoken to, so that is no TLS")
        protocol.connection_made(below)  # so that there is one, whatever comes in the handshake
        try:
            loop = asyncio.get_running_loop()
            above = await loop.start_tls(below, protocol, context, server_hostname=name)
        except BaseException:
            below.abort()
            raise
        self._tls = cast(asyncio.BufferedProtocol, below.get_protocol())
        below.set_protocol(self)
        protocol.connection_made(cast(asyncio.Transport, above))

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.below = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._tls is None:
            return memoryview(bytearray(1))
        if self.gulp:
            return self._scratch[: self.gulp]
        return memoryview(self._tls.get_buffer(sizehint))[:SIP]

    def buffer_updated(self, nbytes: int) -> None:
        if self._tls is None:
            self.below.abort()
        elif self.gulp:
            self._sip(self._tls, self._scratch[:nbytes])
            self.gathered()
        else:
            self._tls.buffer_updated(nbytes)

    def _sip(self, tls: asyncio.BufferedProtocol, received: memoryview) -> None:
        size = self.gulp // SIPS
        for start in range(0, len(received), size):
            sip = received[start : start + size]
            memoryview(tls.get_buffer(len(sip)))[: len(sip)] = sip
            tls.buffer_updated(len(sip))

    def eof_received(self) -> bool | None:
        return None if self._tls is None else self._tls.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tls is not None:
            self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._tls is not None:
            self._tls.pause_writing()

    def resume_writing(self) -> None:
        if self._tls is not None:
            self._tls.resume_writing()
