"""One connection, one exchange at a time on it.

Received bytes of a long body stay in the one buffer that they were received into: the next ones are
let in when the reader is done with those.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NamedTuple, cast

from pannier_gateway.upstream.errors import (
    AnswerCut,
    AnswerMalformed,
    AnswerTooLong,
    ExchangeError,
    FirstByteTimedOut,
    KeptAliveDied,
    NoAnswer,
    ProgressTimedOut,
    TlsFailed,
)
from pannier_gateway.upstream.limit import Limit
from pannier_gateway.upstream.parser import AnswerParser
from pannier_gateway.upstream.request import Buffer, Request, Streamed, taken

BUFFER = 256 * 1024  # bytes received at once
WAITING = 256 * 1024  # bytes of a short or chunked body that may wait for their reader
LONG = 64 * 1024  # bytes still owed from which on a body gets a buffer of its own
FEW = 8  # long bodies of a pool that may have as much; further ones make do with LESS
LESS = 128 * 1024
FIRST = 80 * 1024  # of any answer, before it is known how long it is
ONE_WRITE = 64 * 1024  # head and body leave together up to here
CONSENT_SECONDS = 1.0  # how long a body waits for 100 Continue


class Patience(NamedTuple):
    """How long each phase of an exchange may take, in seconds.

    `first_byte` counts from the last byte of the request, `progress` from the last byte moved in
    the middle of a body; nothing limits a body as a whole.
    """

    connect: float = 2.0
    first_byte: float = 10.0
    progress: float = 60.0
    free_connection: float = 1.0


class Buffers:
    """Buffers for long bodies, a few of them large; and one for all that is read at once."""

    def __init__(self) -> None:
        self.scratch = memoryview(bytearray(FIRST))
        self.received = memoryview(bytearray(BUFFER))  # not yet decrypted
        self._wide = 0  # large ones in use
        self._spare: list[memoryview] = []  # of them, for the next body

    def take(self) -> memoryview:
        if self._wide == FEW:
            return memoryview(bytearray(LESS))
        self._wide += 1
        return self._spare.pop() if self._spare else memoryview(bytearray(BUFFER))

    def give(self, buffer: memoryview) -> None:
        if len(buffer) == BUFFER:
            self._wide -= 1
            self._spare.append(buffer)


class Connection(asyncio.BufferedProtocol):
    """The client's end of a connection."""

    def __init__(self, name: str, buffers: Buffers) -> None:
        self.name = name
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self.opened = self._loop.time()
        self._limit = Limit(self._loop, self._late)
        self._buffers = buffers
        self._into = buffers.scratch
        self._parser: AnswerParser | None = None
        self._failure: ExchangeError | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._served = 0
        self._handed_on = True  # the request, to its last byte
        self._reading = True
        self._writable = True

    def __repr__(self) -> str:
        return (
            f"<Connection {self.name} {'open' if self.open else 'closed'}, {self._served} served>"
        )

    @property
    def open(self) -> bool:
        return self._failure is None and not self._transport.is_closing()

    @property
    def sent(self) -> bool:
        """The kernel has the request to its last byte, whether or not its sender knows that yet."""
        return self._handed_on and not self._transport.get_write_buffer_size()

    @property
    def reusable(self) -> bool:
        """The exchange is over on both sides, and the server lets the connection stay."""
        parser = self._parser
        whole = parser is not None and parser.ended and not parser.pieces and self.sent
        return whole and parser.head.keep_alive and self.open  # type: ignore[union-attr]  # whole

    @property
    def led_nowhere(self) -> bool:
        """It ended as those do whose server is gone, or stands elsewhere by now."""
        return isinstance(self._failure, KeptAliveDied | FirstByteTimedOut | ProgressTimedOut)

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # so that a piece has left before the next is asked for
        self._transport.set_write_buffer_limits(high=0, low=0)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._into

    def buffer_updated(self, nbytes: int) -> None:
        parser = self._parser
        if parser is None:
            self._fail(AnswerMalformed(f"{self.name} sent bytes that nobody asked for"))
            return
        data = self._into[:nbytes]
        lent = self._into is not self._buffers.scratch
        try:
            parser.feed(bytes(data) if parser.keeping and not lent else data)
        except AnswerMalformed as error:
            self._fail(AnswerMalformed(f"{self.name}: {error}"))
            return
        if parser.pieces and (lent or parser.waiting > WAITING):
            self._pause()
        wake(self._arrival)

    def eof_received(self) -> bool:
        return False  # the transport closes, and says so to connection_lost

    def connection_lost(self, exc: Exception | None) -> None:
        if self._failure is None:
            self._failure = self._ending(exc)
        self._limit.end()
        wake(self._arrival)
        wake(self._room)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        wake(self._room)

    # What an exchange calls

    async def ask(self, request: Request, patience: Patience) -> "Answer":
        """Send `request` and wait for the head of its answer. Raises ExchangeError, and what a
        streamed body raises."""
        self._parser = parser = AnswerParser(bodiless=request.method == "HEAD")
        reused = self._served > 0
        self._served += 1
        body = request.body
        if isinstance(body, Streamed) or request.expect or len(body) > ONE_WRITE:
            await self._send_listening(request, patience)
        else:
            self._transport.write(request.head() + body)
        if parser.head is None:
            with self._limit(patience.first_byte, FirstByteTimedOut):
                while parser.head is None:
                    await self._wait_for_bytes()
        return Answer(self, parser, patience, reused=reused)

    async def piece(self, patience: Patience) -> Buffer | None:
        """The next bytes of the body, good until the next are asked for; None: that was all."""
        parser = self._parser
        assert parser is not None
        while not parser.pieces:
            if parser.ended:
                return None
            self._resume()
            with self._limit(patience.progress, ProgressTimedOut):
                await self._wait_for_bytes()
        return parser.pieces.popleft()

    def rest(self) -> None:
        """The exchange is over; the next may begin."""
        self._parser = None
        self._resume()
        self.idle_since = self._loop.time()

    def close(self) -> None:
        """Leave at once; what is on its way in either direction is lost."""
        self._transport.abort()
        self._limit.end()
        if self._failure is None:
            self._failure = ExchangeError(f"the connection to {self.name} was given up")
        self._return_buffer()

    # Sending

    async def _send_listening(self, request: Request, patience: Patience) -> None:
        """Send while listening: an answer that comes early ends the sending."""
        self._handed_on = False
        self._transport.write(request.head())
        if request.expect:
            await self._wait_for_consent()
        sending = asyncio.create_task(self._send_body(request.body, patience))
        sending.add_done_callback(lambda _: wake(self._arrival))
        try:
            while not (sending.done() or self._answered):
                await self._wait_for_bytes()
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        failed = None if sending.cancelled() else sending.exception()
        if failed is not None and not self._answered:
            raise failed

    @property
    def _answered(self) -> bool:
        return self._parser is not None and self._parser.head is not None

    async def _wait_for_consent(self) -> None:
        """Until the server says 100 or answers; one that says nothing gets the body too."""
        assert self._parser is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(CONSENT_SECONDS):
                while not (self._parser.consented or self._answered):
                    await self._wait_for_bytes()

    async def _send_body(self, body: Buffer | Streamed, patience: Patience) -> None:
        if self._answered:
            return  # the server did not even want the beginning
        if isinstance(body, Streamed):
            await self._send_pieces(body, patience)
            return
        for start in range(0, len(body), BUFFER):
            last = start + BUFFER >= len(body)
            await self._send_piece(memoryview(body)[start : start + BUFFER], patience, last=last)
        self._handed_on = True

    async def _send_pieces(self, body: Streamed, patience: Patience) -> None:
        owed = body.length
        self._handed_on = owed == 0
        async with taken(body.pieces) as pieces:
            async for piece in pieces:
                if owed is None:
                    await self._send_chunk(piece, patience)
                elif len(piece) > owed:
                    raise ValueError(f"a body of {body.length} bytes goes on after them")
                else:
                    owed -= len(piece)
                    await self._send_piece(piece, patience, last=not owed)
                del piece  # not to be held beside the next
        if owed:
            raise ValueError(f"a body of {body.length} bytes lacks the last {owed}")
        if owed is None:
            await self._send_piece(b"0\r\n\r\n", patience, last=True)

    async def _send_chunk(self, piece: Buffer, patience: Patience) -> None:
        if piece:
            self._write(b"%x\r\n" % len(piece))
            self._write(piece)
            await self._send_piece(b"\r\n", patience, last=False)

    async def _send_piece(self, piece: Buffer, patience: Patience, *, last: bool) -> None:
        """Returns when the kernel has every byte. Raises ExchangeError."""
        self._write(piece)
        self._handed_on = last
        while not self._writable and self._failure is None:
            self._room = self._loop.create_future()
            with self._limit(patience.progress, ProgressTimedOut):
                await self._room
        if self._failure is not None:
            raise self._failure

    def _write(self, piece: Buffer) -> None:
        """Raises ExchangeError: uvloop's own error for a transport that is gone is none."""
        if self._failure is not None:
            raise self._failure
        self._transport.write(piece)

    # Receiving

    async def _wait_for_bytes(self) -> None:
        """Until something has happened. Raises what had gone wrong before."""
        if self._failure is not None:
            raise self._failure
        self._arrival = self._loop.create_future()
        await self._arrival

    def _late(self, kind: type[ExchangeError]) -> None:
        what = "sent no answer" if kind is FirstByteTimedOut else "moved no byte"
        self._fail(kind(f"{self.name} {what} in time"))

    def _fail(self, error: ExchangeError) -> None:
        if self._failure is None:
            self._failure = error
        self._transport.abort()
        wake(self._arrival)
        wake(self._room)

    def _ending(self, cause: Exception | None) -> ExchangeError:
        """What it means that the connection ended just now."""
        parser, why = self._parser, f": {cause}" if cause else ""
        if self._served == 1 and refused_late(cause) and not (parser and parser.begun):
            refusal = TlsFailed(f"TLS with {self.name} failed: {cause}")
            refusal.__cause__ = cause
            return refusal
        if parser is None or not parser.begun:
            if self._served > 1:
                return KeptAliveDied(f"{self.name} closed a connection that was kept alive{why}")
            return NoAnswer(f"{self.name} closed the connection without an answer{why}")
        try:
            if cause is not None and parser.owed is None and not parser.ended:
                return AnswerCut(f"{self.name} broke off its answer{why}", None)
            parser.end()
        except AnswerCut as cut:
            return AnswerCut(f"{self.name}: {cut}{why}", cut.owed)
        return NoAnswer(f"{self.name} closed the connection after its answer{why}")

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        """Let more in; what was lent so far is given back."""
        parser = self._parser
        if parser is not None and parser.owed is not None and parser.owed > LONG:
            if self._into is self._buffers.scratch:
                self._into = self._buffers.take()
        elif parser is None:
            self._return_buffer()
        if not self._reading and self._failure is None:
            self._reading = True
            self._transport.resume_reading()

    def _return_buffer(self) -> None:
        if self._into is not self._buffers.scratch:
            self._buffers.give(self._into)
            self._into = self._buffers.scratch


class Answer:
    """The head of an answer, and its body as it comes.

    `reused`: the connection had served before. `early`: the answer came before all of the request
    was sent, so a success that it tells of is none.
    """

    def __init__(
        self, connection: Connection, parser: AnswerParser, patience: Patience, *, reused: bool
    ) -> None:
        head = parser.head
        assert head is not None
        self.status = head.status
        self.headers = head.headers
        self.length = head.length
        self.reused = reused
        self.early = not connection.sent
        self._connection = connection
        self._parser = parser
        self._patience = patience

    def __repr__(self) -> str:
        return f"<Answer {self.status} of {self._connection.name}, owes {self.owed}>"

    @property
    def owed(self) -> int | None:
        """Bytes of body that have not been received; None: nobody knows."""
        return self._parser.owed

    async def pieces(self) -> AsyncGenerator[Buffer, None]:
        """The body; a piece is good until the next is asked for. Raises ExchangeError."""
        while (piece := await self._connection.piece(self._patience)) is not None:
            yield piece

    async def whole(self, most: int) -> bytes:
        """The body at once. Raises ExchangeError; AnswerTooLong for one over `most` bytes."""
        parser, gathered = self._parser, bytearray()
        while True:
            gathered += b"".join(parser.pieces)
            parser.pieces.clear()
            if len(gathered) > most:
                raise AnswerTooLong(f"{self._connection.name} answers with over {most} bytes")
            if parser.ended:
                return bytes(gathered)
            gathered += await self._connection.piece(self._patience) or b""


def refused_late(cause: Exception | None) -> bool:
    """The server does not accept our certificate: in TLS 1.3 that comes after the handshake."""
    return isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")


def wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
