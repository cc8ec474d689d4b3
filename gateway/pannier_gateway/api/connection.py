"""Connections of the data listener: aiohttp's, but what must not reach the protocol is refused
here, in its words, and who has sent all and reads on still gets an answer.

aiohttp has no seams for that. Of its `RequestHandler` this reads `_loop`, `_max_msg_queue_size`,
`_messages`, `_reading_paused`, `_request_count` and `_waiter`, and sets `_lingering_time`,
`_message_tail`, `_parser` and `_upgraded`; it overrides `resume_reading`, which nobody documents,
and puts an `_ErrInfo` in the place of a message. That these are there is pinned by
`test_aiohttp_has_what_connections_lean_on`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import cast

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import CONTENT_LENGTH, TRANSFER_ENCODING
from aiohttp.http import HttpParser, HttpRequestParser, RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from pannier_gateway.api.departure import is_gone
from pannier_gateway.api.head import head_bytes
from pannier_gateway.api.narrow import WIDTH, Narrow
from pannier_gateway.api.pages import Hosts, any_host, foreign_page
from pannier_gateway.api.request import Request
from pannier_gateway.api.turns import Message, Turns
from pannier_gateway.errors import BadRequest, HeadTooLarge, PannierError
from pannier_gateway.metrics import Requests

log = logging.getLogger("pannier.api")

READ_BUFFER = 16 * 1024  # bytes of a body that may wait here; what one read brings comes on top
KEEP_ALIVE_SECONDS = 75.0  # longer than clients keep an idle connection
FEW = 8  # bodies at once that come in as they like
LOOK_SECONDS = 1.0  # between two looks whether a client who sends no more is still there
MOST_DIGITS = 18  # of a length: what fits into 63 bits for sure
LONGEST_LINE = 8190  # bytes of the request line or of a header
HEAD_END = b"\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"  # of no meaning to who has sent all
CLOSING = {"content-type": "application/json", "connection": "close"}

Handler = Callable[[Request], Awaitable[bool]]  # answers; whether the connection may stay
Render = Callable[[PannierError], bytes]  # the body of a refusal, as the protocol has it
Lifetime = Callable[[asyncio.BaseTransport], float]  # seconds that a connection may be used for


def unlimited(_: asyncio.BaseTransport) -> float:
    """Of who need not prove anew who they are."""
    return inf


class Connection(Turns):
    """One connection."""

    __slots__ = (
        "_aging",
        "_answers",
        "_asked",
        "_ended",
        "_hosts",
        "_incoming",
        "_lifetime",
        "_lost",
        "_resuming",
        "_server",
        "_upgrading",
    )

    def __init__(self, server: "DataServer", hosts: Hosts, lifetime: Lifetime) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            read_bufsize=READ_BUFFER,
            access_log=None,  # type: ignore[arg-type]  # an exchange logs itself
        )
        self._parser = HttpRequestParser(
            self,
            self._loop,
            READ_BUFFER,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=1,
        )
        self._server = server
        self._hosts = hosts
        self._lifetime = lifetime
        self._aging: asyncio.TimerHandle | None = None
        self.aged = False
        self._incoming: StreamReader = EMPTY_PAYLOAD  # the body of the last request so far
        self._upgrading = False  # the last request asks to
        self._answers = 0
        self._asked: Request | None = None  # what is being answered
        self._ended = False  # the client will send no more
        self._lost = False  # there is no telling where the next request begins
        self._resuming = False  # in the next turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # so that a drained writer means that the kernel has every byte; TLS, which copies, would
        # wait for room in an empty buffer
        encrypted = transport.get_extra_info("sslcontext") is not None
        cast(asyncio.Transport, transport).set_write_buffer_limits(1 if encrypted else 0, 0)
        seconds = self._lifetime(transport)
        if seconds < inf:
            self._aging = self._loop.call_later(seconds, self._age)

    def data_received(self, data: bytes) -> None:
        """Take up one request at a time.

        A request that can't be parsed takes along whatever aiohttp has parsed in the same go.
        """
        more = not self._lost and self._parse(data)
        while more and self._has_room:
            more = self._parse(b"")

    def _parse(self, data: bytes) -> bool:
        """Parse to the end of a request; whether there may be more."""
        parser = self._parser
        if parser is None:
            return False
        known, within_body = len(self._messages), not self._incoming.is_eof()
        if self._upgrading and not within_body:
            data = self._decline_upgrade(parser) + data
        super().data_received(data)
        parser.message_consumed()
        if len(self._messages) == known:
            return within_body and self._incoming.is_eof()
        self._look_at()
        return self._upgrading or not is_one_head(data)

    def _decline_upgrade(self, parser: HttpParser[RawRequestMessage]) -> bytes:
        """Go on as if nobody had asked, with what follows: aiohttp would drop it."""
        parser.set_upgraded(True)
        super().data_received(b"")
        parser.set_upgraded(False)
        rest, self._message_tail = self._message_tail, b""
        self._upgraded = self._upgrading = False
        return rest

    @property
    def _has_room(self) -> bool:
        """Whether more of what is there may be taken up."""
        full = self._reading_paused or len(self._messages) >= self._max_msg_queue_size
        return not (full or self._lost or self._force_close or self._close)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on in the next turn of the loop.

        aiohttp would parse on within the reader's own turn: a body in chunks of a byte each would
        keep all others waiting for as long as there is any of it.
        """
        if self._reading_paused and not resume_parser:
            super().resume_reading(resume_parser=False)
        elif self._reading_paused and not self._resuming:
            self._resuming = True
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        if self._reading_paused:
            super().resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._aging is not None:
            self._aging.cancel()
        if not self._incoming.is_eof():
            self._incoming.set_exception(ConnectionResetError("the client left"))

    def eof_received(self) -> bool:  # type: ignore[override]  # None there, so never to stay
        """Stay for what was asked for whole: who has no more to send may still read."""
        self._ended = True
        if not self._incoming.is_eof():
            self._break_off("the connection ended first")
        if self._unanswered:
            self._loop.call_later(LOOK_SECONDS, self._look_for_who_asked)
        return self._unanswered

    def _look_for_who_asked(self) -> None:
        """Leave off once nobody is there: a store may take long, and others wait for their turn.

        Whoever is gone resets the connection when something comes, so an interim answer goes first.
        """
        transport, asked = self.transport, self._asked
        if transport is None or not self._unanswered:
            return
        if is_gone(transport):
            transport.abort()
            return
        if asked is not None and not (asked.begun or asked.version < HttpVersion11):
            asked.begun = True
            transport.write(CONTINUE)
        self._loop.call_later(LOOK_SECONDS, self._look_for_who_asked)

    async def answered(self, message: Message, body: StreamReader) -> bool:
        """Answer it; whether the connection may stay."""
        if isinstance(message, _ErrInfo):
            self._refuse(refusal(message.exc, message.message))
            return False
        self._asked = asked = Request(message, body, self)
        stays = await self._server.handle(asked)
        self._asked = None
        self._answers += 1
        if (self._ended or self.aged) and not self._messages:
            super().close()
        elif not (stays or body.is_eof()):
            self._say_goodbye()
        return stays

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """While many bodies come in, little of each is taken at once."""
        server = self._server
        server.receiving += 1
        if server.receiving > FEW:
            self._have_it_come_to(Narrow(self, server.room))
        try:
            yield
        finally:
            server.receiving -= 1
            self._have_it_come_to(self)

    def _have_it_come_to(self, protocol: asyncio.BaseProtocol) -> None:
        transport = self.transport
        if transport is not None and transport.get_protocol() is not protocol:
            transport.set_protocol(protocol)

    def _say_goodbye(self) -> None:
        """Who sends on for a while may know already that no answer follows."""
        transport = self.transport
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()

    def close(self) -> None:
        """Close unless a request is at hand: aiohttp would drop the rest of its body."""
        if self._waiter is not None and not self._messages:
            self.force_close()  # idle, and aiohttp would leave it open until the drain is over
        elif not self._unanswered:
            super().close()

    def _age(self) -> None:
        """Close, or have the request at hand be the last."""
        self.aged = True
        self.close()

    @property
    def _unanswered(self) -> bool:
        return self._answers < self._request_count

    def _look_at(self) -> None:
        """Refuse what is wrong with the request that has come, or with the one that was coming."""
        message, body = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._lost = True
            self._blame(message)
            return
        self._incoming, self._upgrading = body, message.upgrade
        error = objection(message.headers, self._hosts)
        if error is not None:
            self._lost = True
            self._messages[-1] = (_ErrInfo(error.status, error, ""), EMPTY_PAYLOAD)

    def _blame(self, fault: _ErrInfo) -> None:
        """What is malformed belongs to the body that was coming, if one was."""
        if not self._incoming.is_eof():
            self._messages.pop()
            self._request_count -= 1
            log.info("malformed body", extra={"detail": detail_of(fault.message)})
            self._break_off(detail_of(fault.message))

    def _break_off(self, detail: str) -> None:
        """Whoever reads the body that broke hears of it; aiohttp would let them wait for more."""
        self._lingering_time = 0.0
        if self._unanswered:
            error = web.RequestPayloadError(detail)
            self._incoming.set_exception(error)
            # a reader whom the end of a chunk has woken just now will wait again
            self._loop.call_soon(self._incoming.set_exception, error)
        elif self.transport is not None:
            self.transport.close()  # the answer is out, and what still came was being skipped

    def _refuse(self, error: PannierError) -> None:
        """Say why there is no answer. Nothing after it can be trusted."""
        log.info("request refused", extra={"detail": str(error)})
        self._server.count(error)
        self._answers += 1
        if self.transport is not None:
            body = self._server.render(error)
            length = {"content-length": str(len(body))}
            self.transport.write(head_bytes(error.status, CLOSING | length) + body)


class DataServer(web.Server):
    """Makes a Connection of every client that comes.

    A refusal that is no answer of `handler`'s is rendered by `render` and counted in `requests`.
    """

    def __init__(self, handler: Handler, render: Render, requests: Requests) -> None:
        super().__init__(handler, handler_cancellation=True)  # type: ignore[arg-type]  # not called
        self.handle = handler
        self.render = render
        self._requests = requests
        self.receiving = 0  # bodies that come in
        self.room = memoryview(bytearray(WIDTH))

    def __call__(self) -> Connection:
        return Connection(self, any_host, unlimited)

    def of(self, hosts: Hosts, lifetime: Lifetime = unlimited) -> Callable[[], Connection]:
        """Makes connections that are closed to requests for another host than these, and to all
        after their `lifetime`."""
        return lambda: Connection(self, hosts, lifetime)

    def count(self, error: PannierError) -> None:
        """Count a request that was refused before anything was made of it."""
        tally = self._requests.tally("", "refused", error.status)
        tally.seconds.add(0.0)
        tally.first_byte.add(0.0)


def is_one_head(received: bytes) -> bool:
    """Whether one head ends in it, with it; the end of one before it would be its beginning."""
    at_the_end = received.find(HEAD_END) == len(received) - len(HEAD_END)
    return at_the_end and received[0] not in HEAD_END


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
