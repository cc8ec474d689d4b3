"""One request and its answer: what was sent, how long it took, what the log says of it.

Answers are written to the connection here, in one piece where they are small; aiohttp's own
response objects cost as much again as all else that a small answer takes.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from time import perf_counter
from types import TracebackType

from aiohttp import HttpVersion11
from aiohttp.hdrs import EXPECT

from pannier_gateway.admission import Pacer
from pannier_gateway.api.head import head_bytes
from pannier_gateway.api.incoming import IncomingBody
from pannier_gateway.api.patience import PROGRESS_SECONDS, Patience
from pannier_gateway.api.request import Request
from pannier_gateway.drain import Drain
from pannier_gateway.errors import Damaged, RequestTimeout
from pannier_gateway.metrics import Requests
from pannier_gateway.stores.base import Buffer

log = logging.getLogger("pannier.request")

CLIENT_LEFT = 499
ONE_WRITE = 64 * 1024  # head and body leave together up to here
EMPTY = (204, 304)  # statuses that no body goes with
LAST_CHUNK = b"0\r\n\r\n"
RESET = pack("ii", 1, 0)  # linger on, for no time at all


class Exchange:
    """A `with` block around the work on one request; counts and logs it when it ends."""

    __slots__ = (
        "_body",
        "_drain",
        "_first_byte",
        "_promised",
        "_requests",
        "_sent",
        "_started",
        "detail",
        "keep_alive",
        "method",
        "operation",
        "ordinary",
        "pacer",
        "request",
        "status",
        "usecase",
    )

    def __init__(self, request: Request, requests: Requests, drain: Drain) -> None:
        self.request = request
        self.method = request.method
        self._body: IncomingBody | None = None
        self.usecase = ""  # a declared one, so that a label can't take any value
        self.operation = "unknown"
        self.status = CLIENT_LEFT  # until a head is sent
        self.keep_alive = False
        self.detail: str | None = None  # why it was refused
        self.ordinary = False  # whatever its status, not worth a line
        self.pacer: Pacer | None = None  # of the usecase, where it is one
        self._requests = requests
        self._drain = drain
        self._sent = 0
        self._first_byte: float | None = None  # seconds
        self._promised: int | None = None  # bytes of body, by the head

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.request.raw_path} {self.status}>"

    @property
    def body(self) -> IncomingBody:
        """What the client sends."""
        if self._body is None:
            self._body = IncomingBody(self.request, self.pacer)
        return self._body

    @property
    def received(self) -> int:
        """Bytes of the body taken so far."""
        return 0 if self._body is None else self._body.received

    @property
    def begun(self) -> bool:
        """The head is sent: only the rest of the body, or the connection's end, is honest now."""
        return self.status != CLIENT_LEFT

    async def send(self, status: int, headers: dict[str, str], body: Buffer = b"") -> None:
        """Answer with a body at hand."""
        asked_for_head = self.method == "HEAD"
        known = status >= 400 or not asked_for_head  # else the body that GET would send counts
        if "content-length" not in headers and status not in EMPTY and known:
            headers = {**headers, "content-length": str(len(body))}
        if asked_for_head:
            body = b""
        head = self._head(status, headers)
        if self.pacer is not None and self.pacer.account is not None:
            self._write(head)
            await self._send_paced(body, chunked=False)
        elif len(body) <= ONE_WRITE:
            if self._write(head + body):
                await self._taken(len(body))
            self._sent = len(body)
        else:
            self._write(head)
            await self._send_piece(body)

    async def stream(
        self, status: int, headers: dict[str, str], body: AsyncGenerator[Buffer, None]
    ) -> None:
        """Answer with a body that comes in pieces; chunked where `headers` give no length."""
        chunked = "content-length" not in headers and self.request.version >= HttpVersion11
        if chunked:
            headers = {**headers, "transfer-encoding": "chunked"}
        async with aclosing(body):
            self._write(self._head(status, headers))
            async for piece in body:
                await self._send_paced(piece, chunked=chunked)
                del piece  # not to be kept while the next one is made
        if self._promised is not None and self._sent != self._promised:
            raise Damaged(f"the body ended after {self._sent} of {self._promised} bytes")
        if chunked:
            self._write(LAST_CHUNK)

    async def _send_piece(self, piece: Buffer, *, chunked: bool = False) -> None:
        """Send it to its last byte, for the next piece may take its memory."""
        size = len(piece)
        if not size:
            return  # as a chunk, it would be the last one
        framed = b"".join((b"%x\r\n" % size, piece, b"\r\n")) if chunked else piece
        if self._write(framed):
            await self._taken(size)
        self._sent += size

    async def _send_paced(self, piece: Buffer, *, chunked: bool) -> None:
        """Send it no faster than the usecase may."""
        rest = memoryview(piece)
        while rest:
            size = len(rest) if self.pacer is None else await self.pacer.spend(len(rest))
            await self._send_piece(rest[:size], chunked=chunked)
            rest = rest[size:]

    def _write(self, data: Buffer) -> bool:
        """Hand it to the connection; whether some of it waits for the client to take it.

        Raises ConnectionResetError where the client has left.
        """
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left")
        transport.write(data)
        return self.request.connection.writing_paused

    async def _taken(self, size: int) -> None:
        """Wait until the kernel has it all. Raises RequestTimeout."""
        try:
            async with Patience():
                await self.request.connection.drained()
        except TimeoutError as error:
            raise RequestTimeout(
                f"the client took less than {size} bytes in {PROGRESS_SECONDS:.0f} s"
            ) from error

    def abort(self) -> None:
        """End the connection so that the client can't take what it has for all there is."""
        transport = self.request.transport
        if transport is not None and not transport.is_closing():
            # with a reset: to a client that counts no bytes, an orderly end is the body's end
            transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            transport.abort()

    def __enter__(self) -> "Exchange":
        self._started = perf_counter()
        self._drain.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started
        whole = self._promised is not None and self._sent == self._promised
        status = self.status if kind is None or whole else CLIENT_LEFT
        if self.begun and status == CLIENT_LEFT:
            self.abort()
        self._drain.leave()
        tally = self._requests.tally(self.usecase, self.operation, status)
        tally.seconds.add(seconds)
        tally.first_byte.add(seconds if self._first_byte is None else self._first_byte)
        tally.bytes_in += self.received
        tally.bytes_out += self._sent
        level = logging.DEBUG if self.ordinary else level_of(status)
        if log.isEnabledFor(level):
            log.log(level, "request ended", extra=self._fields(status, seconds))

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        """The head, as of now the fate of this exchange."""
        request = self.request
        self.keep_alive = not self._drain.begun and may_stay(request, status, headers)
        if not self.keep_alive:
            headers = {**headers, "connection": "close"}
        elif request.version < HttpVersion11:
            headers = {**headers, "connection": "keep-alive"}
        head = head_bytes(status, headers)
        request.begun = True
        self.status = status
        length = headers.get("content-length")
        self._promised = None if length is None else int(length)
        self._first_byte = perf_counter() - self._started
        return head

    def _fields(self, status: int, seconds: float) -> dict[str, object]:
        fields: dict[str, object] = {
            "method": self.method,
            "target": self.request.raw_path,
            "usecase": self.usecase,
            "operation": self.operation,
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": self.received,
            "bytes_out": self._sent,
        }
        return fields if self.detail is None else fields | {"detail": self.detail}


def may_stay(request: Request, status: int, headers: Mapping[str, str]) -> bool:
    """Whether another request may follow: it is plain where this one and its answer end."""
    if not request.content.is_eof() and EXPECT in request.headers:
        return False  # what comes next may be a request, or the body that was announced
    ends = "content-length" in headers or "transfer-encoding" in headers or status in EMPTY
    return request.keep_alive and (ends or request.method == "HEAD")


def level_of(status: int) -> int:
    """Success is for debugging, a client's mistake is worth a line, our own a warning."""
    if status < 400:
        return logging.DEBUG
    return logging.INFO if status < 500 else logging.WARNING
