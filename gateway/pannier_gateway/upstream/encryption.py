"""TLS of a connection, in as little memory as it takes.

A loop's own TLS takes up to 256 KiB off a socket into a buffer of the connection, and keeps them in
another until they are decrypted; neither ever shrinks. That is half a megabyte for each stream. So
all connections receive into one buffer here, from which TLS gets a sip at a time.
"""

import asyncio
import ssl
from collections import deque
from typing import cast

SIP = 64 * 1024  # bytes to decrypt at once; TLS keeps as many
SENT = 32 * 1024  # bytes to encrypt at once, likewise
RECORD = 17 * 1024  # bytes that may come out beside those that came: TLS decrypts whole records
HUNG_UP = "it hung up within TLS"


class Encryption(asyncio.Transport, asyncio.BufferedProtocol):
    """Stands between a transport and a connection: to the one a protocol, to the other a transport.

    What came at once is one piece to the connection, too. `received` is the buffer that all share.
    """

    def __init__(
        self,
        connection: asyncio.BufferedProtocol,
        context: ssl.SSLContext,
        name: str,
        received: memoryview,
    ) -> None:
        super().__init__()
        self._connection = connection
        self._received = received
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._agreed = asyncio.get_running_loop().create_future()
        self._failure: OSError | None = None
        self._unsent: deque[memoryview] = deque()
        self._blocked = False

    def __repr__(self) -> str:
        if self.is_closing():
            return "<Encryption, over>"
        return f"<Encryption {self._tls.version()}, {self._incoming.pending} bytes to decrypt>"

    async def agree(self) -> None:
        """Wait for the handshake. Raises OSError, of which an SSLError is one."""
        try:
            await self._agreed
        except BaseException:
            self._below.abort()
            raise

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = cast(asyncio.Transport, transport)
        self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        room = memoryview(self._connection.get_buffer(sizehint))
        return self._received[: len(room) - RECORD]

    def buffer_updated(self, nbytes: int) -> None:
        room, filled = memoryview(self._connection.get_buffer(nbytes)), 0
        for start in range(0, nbytes, SIP):
            self._incoming.write(self._received[start : min(nbytes, start + SIP)])
            if not self._agreed.done():
                self._shake_hands()
            if self._agreed.done():
                filled += self._decrypt(room[filled:])
        if filled:
            self._connection.buffer_updated(filled)

    def eof_received(self) -> bool:
        """Whoever means to end says so in TLS; anybody between can cut a connection."""
        self._failure = self._failure or ConnectionResetError(HUNG_UP)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        cause = self._failure or exc
        if not self._agreed.done():
            self._agreed.set_exception(cause or ConnectionResetError(HUNG_UP))
            self._agreed.exception()  # nobody may be left to hear of it
        else:
            self._connection.connection_lost(cause)
        del self._tls, self._incoming, self._outgoing  # or all wait for the collector of cycles

    def pause_writing(self) -> None:
        self._blocked = True
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._blocked = False
        self._encrypt()
        if not self._blocked:
            self._connection.resume_writing()

    # What the connection calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._unsent.append(memoryview(data))
        self._encrypt()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._unsent)) + self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def abort(self) -> None:
        self._below.abort()

    # TLS

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._answer()
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._answer()
            self._connection.connection_made(self)
            self._agreed.set_result(None)

    def _decrypt(self, room: memoryview) -> int:
        """Whole records of what has come; how many bytes that makes."""
        filled = 0
        try:
            while self._incoming.pending or self._tls.pending():
                read = self._tls.read(len(room) - filled, room[filled:])
                if not read:
                    self._below.close()
                    break
                filled += cast(int, read)
        except ssl.SSLWantReadError:
            self._answer()
        except ssl.SSLError as error:
            self._fail(error)
        return filled

    def _encrypt(self) -> None:
        """As much of what is to be sent as goes off at once; nothing once TLS is over."""
        while self._unsent and not (self._blocked or self.is_closing()):
            data = self._unsent.popleft()
            sip, rest = data[:SENT], data[SENT:]
            if rest:
                self._unsent.appendleft(rest)
            while sip:
                sip = sip[self._tls.write(sip) :]  # which takes a record
            self._answer()

    def _answer(self) -> None:
        """Send what TLS has to say."""
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())

    def _fail(self, error: ssl.SSLError) -> None:
        self._failure = self._failure or error
        self._answer()
        self._below.close()
