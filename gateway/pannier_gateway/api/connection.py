"""Connections of the data listener: aiohttp's, but malformed requests are refused in our words."""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, cast

import msgspec
from aiohttp import web
from aiohttp.hdrs import CONTENT_LENGTH, TRANSFER_ENCODING
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from pannier_gateway.api.head import head_bytes
from pannier_gateway.api.sent import CLOSED
from pannier_gateway.errors import BadRequest, HeadTooLarge, PannierError

log = logging.getLogger("pannier.api")

READ_BUFFER = 64 * 1024  # bytes of a body that may wait here
KEEP_ALIVE_SECONDS = 75.0  # longer than clients keep an idle connection
MOST_DIGITS = 18  # of a length: what fits into 63 bits for sure
LONGEST_LINE = 8190  # bytes of the request line or of a header
COMPLAINT = BadHttpMessage("transfer-encoding takes 'chunked' alone, content-length 18 digits")
ODDLY_FRAMED = _ErrInfo(status=400, exc=COMPLAINT, message=COMPLAINT.message)
CLOSING = {"content-type": "application/json", "connection": "close"}


class Connection(RequestHandler):
    """One connection."""

    __slots__ = ("_answered", "_incoming")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._incoming: StreamReader = EMPTY_PAYLOAD  # the body of the last request so far
        self._answered: StreamReader = EMPTY_PAYLOAD  # and of the last one that got its answer
        super().connection_made(transport)
        # so that a drained writer means that the kernel has every byte
        cast(asyncio.Transport, transport).set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        known = len(self._messages)
        super().data_received(data)
        for at in range(known, len(self._messages)):
            message, body = self._messages[at]
            if not isinstance(message, _ErrInfo):
                self._incoming = body
                if oddly_framed(message.headers):
                    self._messages[at] = (ODDLY_FRAMED, EMPTY_PAYLOAD)
            elif not self._incoming.is_eof():
                self._messages.pop()
                self._break_off(detail_of(message.message))

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        self._answered = request.content
        return super().finish_response(request, resp, start_time)

    def close(self) -> None:
        """Close unless a request is at hand: aiohttp would drop the rest of its body."""
        if self._waiter is not None and not self._messages:
            self.force_close()  # idle, and aiohttp would leave it open until the drain is over
        elif self._incoming is self._answered and self._current_request is None:
            super().close()

    def _break_off(self, detail: str) -> None:
        """Whoever reads the body that broke hears of it; aiohttp would let them wait for more."""
        log.info("malformed body", extra={"detail": detail})
        self._lingering_time = 0.0  # there is no telling where the next request begins
        if self._incoming is not self._answered:
            error = web.RequestPayloadError(detail)
            self._incoming.set_exception(error)
            # a reader whom the end of a chunk has woken just now will wait again
            self._loop.call_soon(self._incoming.set_exception, error)
        elif self.transport is not None:
            self.transport.close()  # the answer is out, and what still came was being skipped

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that the parser refused. Nothing after it can be trusted: close."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client left
        error = refusal(exc, message)
        if status < 500:
            log.info("malformed request", extra={"detail": str(error)})
        else:  # a mistake of ours, outside of what the door guards
            error = PannierError("the gateway's log says more")
            log.error("request failed", exc_info=exc)
        body = msgspec.json.encode({"detail": f"{error.kind}: {error}"})
        if self.transport is not None:
            length = {"content-length": str(len(body))}
            self.transport.write(head_bytes(error.status, CLOSING | length) + body)
        return CLOSED


class DataServer(web.Server):
    """Makes a Connection of every client that comes."""

    def __call__(self) -> RequestHandler:
        return Connection(
            self,
            loop=self._loop,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            read_bufsize=READ_BUFFER,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # an exchange logs itself
        )


def refusal(error: BaseException | None, message: str | None) -> PannierError:
    """What the parser complained of, in our words."""
    if isinstance(error, LineTooLong):
        return HeadTooLarge(
            f"the request line or a header is longer than {LONGEST_LINE} bytes: shorten it"
        )
    return BadRequest(detail_of(message or str(error)))


def oddly_framed(headers: Mapping[str, str]) -> bool:
    """Whether a body is announced in a way that the parser lets pass and then gets wrong."""
    return (
        headers.get(TRANSFER_ENCODING, "chunked").lower() != "chunked"
        or len(headers.get(CONTENT_LENGTH, "")) > MOST_DIGITS
    )


def detail_of(message: str) -> str:
    """The parser's complaint without the drawing of what it complains about."""
    complaint = message.strip().partition("\n")[0].rstrip(":")
    return f"malformed request: {complaint}"
