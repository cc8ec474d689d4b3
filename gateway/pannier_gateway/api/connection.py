"""Connections of the data listener: aiohttp's, but what must not reach the protocol is refused
here, in its words, and who has sent all and reads on still gets an answer.

aiohttp has no seams for that. Of its `RequestHandler` this reads `_current_request`, `_loop`,
`_messages`, `_request_count`, `_upgraded` and `_waiter`, and sets `_lingering_time`; it overrides
`finish_response`, which nobody documents, and puts an `_ErrInfo` in the place of a message. That
these are there is pinned by `test_aiohttp_has_what_connections_lean_on`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import cast

from aiohttp import web
from aiohttp.hdrs import CONTENT_LENGTH, TRANSFER_ENCODING
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from pannier_gateway.api.head import head_bytes
from pannier_gateway.api.pages import Hosts, any_host, foreign_page
from pannier_gateway.api.sent import CLOSED
from pannier_gateway.errors import BadRequest, HeadTooLarge, PannierError
from pannier_gateway.metrics import Requests

log = logging.getLogger("pannier.api")

READ_BUFFER = 64 * 1024  # bytes of a body that may wait here
KEEP_ALIVE_SECONDS = 75.0  # longer than clients keep an idle connection
MOST_DIGITS = 18  # of a length: what fits into 63 bits for sure
LONGEST_LINE = 8190  # bytes of the request line or of a header
CLOSING = {"content-type": "application/json", "connection": "close"}

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]  # answers, returns a Sent
Render = Callable[[PannierError], bytes]  # the body of a refusal, as the protocol has it


class Connection(RequestHandler):
    """One connection."""

    __slots__ = ("_answers", "_ended", "_hosts", "_incoming", "_server")

    def __init__(self, server: "DataServer", hosts: Hosts) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            read_bufsize=READ_BUFFER,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # an exchange logs itself
        )
        self._server = server
        self._hosts = hosts
        self._incoming: StreamReader = EMPTY_PAYLOAD  # the body of the last request so far
        self._answers = 0
        self._ended = False  # the client will send no more

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # so that a drained writer means that the kernel has every byte
        cast(asyncio.Transport, transport).set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        known = len(self._messages)
        super().data_received(data)
        if len(self._messages) > known:
            self._look_at(known)

    def eof_received(self) -> bool:  # type: ignore[override]  # None there, so never to stay
        """Stay for what was asked for whole: who has no more to send may still read."""
        self._ended = True
        if not self._incoming.is_eof():
            self._break_off("the connection ended first")
        return self._unanswered

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """An answer is out. Of aiohttp's work only what follows a declined upgrade is left."""
        self._answers += 1
        if self._upgraded:
            known = len(self._messages)
            await super().finish_response(request, resp, start_time)
            self._look_at(known)
        if self._ended and not self._messages:
            super().close()
        return resp, False

    def close(self) -> None:
        """Close unless a request is at hand: aiohttp would drop the rest of its body."""
        if self._waiter is not None and not self._messages:
            self.force_close()  # idle, and aiohttp would leave it open until the drain is over
        elif not self._unanswered:
            super().close()

    @property
    def _unanswered(self) -> bool:
        return self._answers < self._request_count

    def _look_at(self, first: int) -> None:
        """Refuse what is wrong with the messages that have come, of which `first` is the first."""
        for at in range(first, len(self._messages)):
            message, body = self._messages[at]
            if not isinstance(message, _ErrInfo):
                self._incoming = body
                error = objection(message.headers, self._hosts)
                if error is not None:
                    self._messages[at] = (_ErrInfo(error.status, error, ""), EMPTY_PAYLOAD)
            elif not self._incoming.is_eof():
                self._messages.pop()
                self._request_count -= 1
                log.info("malformed body", extra={"detail": detail_of(message.message)})
                self._break_off(detail_of(message.message))

    def _break_off(self, detail: str) -> None:
        """Whoever reads the body that broke hears of it; aiohttp would let them wait for more."""
        self._lingering_time = 0.0  # there is no telling where the next request begins
        if self._unanswered:
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
        """Answer a request that is refused here. Nothing after it can be trusted: close."""
        if isinstance(exc, ConnectionError):
            raise exc  # the client left
        error = refusal(exc, message)
        if status < 500:
            log.info("request refused", extra={"detail": str(error)})
        else:  # a mistake of ours, outside of what the door guards
            error = PannierError("the gateway's log says more")
            log.error("request failed", exc_info=exc)
        self._server.count(error)
        body = self._server.render(error)
        if self.transport is not None:
            length = {"content-length": str(len(body))}
            self.transport.write(head_bytes(error.status, CLOSING | length) + body)
        return CLOSED


class DataServer(web.Server):
    """Makes a Connection of every client that comes.

    A refusal that is no answer of `handler`'s is rendered by `render` and counted in `requests`.
    """

    def __init__(self, handler: Handler, render: Render, requests: Requests) -> None:
        make_request = partial(web.BaseRequest, loop=asyncio.get_running_loop())
        super().__init__(handler, handler_cancellation=True, request_factory=make_request)
        self.render = render
        self._requests = requests

    def __call__(self) -> Connection:
        return Connection(self, any_host)

    def of(self, hosts: Hosts) -> Callable[[], Connection]:
        """Makes connections that are closed to requests for another host than these."""
        return lambda: Connection(self, hosts)

    def count(self, error: PannierError) -> None:
        """Count a request that was refused before anything was made of it."""
        tally = self._requests.tally("", "refused", error.status)
        tally.seconds.add(0.0)
        tally.first_byte.add(0.0)


def objection(headers: Mapping[str, str], hosts: Hosts) -> PannierError | None:
    """Why a request with this head, fine as it is for the parser, is refused."""
    if (TRANSFER_ENCODING in headers or CONTENT_LENGTH in headers) and oddly_framed(headers):
        return BadRequest(
            "malformed request: transfer-encoding takes 'chunked' alone, content-length 18 digits"
        )
    return foreign_page(headers, hosts)


def refusal(error: BaseException | None, message: str | None) -> PannierError:
    """What is wrong with the request, in our words."""
    match error:
        case PannierError():
            return error
        case LineTooLong():
            return HeadTooLarge(
                f"the request line or a header is longer than {LONGEST_LINE} bytes: shorten it"
            )
        case _:
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
