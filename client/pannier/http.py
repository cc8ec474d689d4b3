"""HTTP/1.1 over one connection: `http.client` does the grammar, this watches over it.

`http.client` takes every interim answer but 100 for the final one, and loses an early refusal
behind a broken pipe. Neither gets past this module, and the errors that it, sockets and TLS
raise become ours here.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection

from pannier.address import Address
from pannier.answer import Answer
from pannier.errors import ConnectionFailed, ProtocolError, RequestTimeout
from pannier.framing import in_chunks
from pannier.patience import Timeout
from pannier.plan import Request
from pannier.source import Block, Source

_DRAIN_SECONDS = 0.1
_INTERIM = b"HTTP/1.1 1"


class Unanswered(ConnectionError):
    """The connection ended before the first byte of an answer."""


class Connection:
    """One connection, for one exchange after the other. At the first doubt it is closed."""

    def __init__(self, address: Address, timeout: Timeout, tls: ssl.SSLContext | None) -> None:
        """Connect. Raises OSError when that fails."""
        self.pid = os.getpid()
        self._address = address
        self._timeout = timeout
        self._http = _http(address, timeout, tls)
        self._http.auto_open = 0  # a lost connection must show, not reopen unseen
        self._http.response_class = _Response
        self._http.connect()

    def __repr__(self) -> str:
        return f"<Connection {self._address} {'open' if self.is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        return self._http.sock is not None

    @property
    def is_fresh(self) -> bool:
        """Open, and the server has neither hung up nor said anything unasked."""
        return self.is_open and not _wait(self._http.sock, select.POLLIN, 0)

    def exchange(
        self,
        request: Request,
        headers: Mapping[str, str],
        source: Source | None,
        give_back: Callable[[Connection], None],
    ) -> Answer:
        """Send the request and return its answer as soon as the head is in.

        Calls `give_back` when the body is read to its end and the connection is good for more.
        Raises Unanswered when no byte of an answer came.
        """
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            whole = self._send(request, headers, source)
            response = _receive_head(self._http, request)
            _check_framing(request, response)
            if not whole and response.status < HTTPStatus.BAD_REQUEST:
                why = f"answered {response.status} before it had all of the body"
                raise ProtocolError(why, request.subject, status=response.status)
            on_failure.pop_all()
        return Answer(self, request, response, partial(give_back, self) if whole else self.close)

    def hurry(self) -> None:
        """Wait only a moment for what is still to come of this answer."""
        if self.is_open:
            self._http.sock.settimeout(_DRAIN_SECONDS)

    def close(self) -> None:
        """Close the descriptor. In a forked child this leaves the parent's connection up."""
        self._http.close()

    def _send(self, request: Request, headers: Mapping[str, str], source: Source | None) -> bool:
        """Whether all of it went out; not so when the server answers or hangs up before."""
        self._http.sock.settimeout(self._timeout.read)
        try:
            self._send_head(request, headers)
            for piece in () if source is None else _pieces(source, request):
                with _sending(request):
                    _push(self._http.sock, piece, self._timeout.read)
        except _InterruptedSending:
            return False  # what the server had to say is still to be read
        return True

    def _send_head(self, request: Request, headers: Mapping[str, str]) -> None:
        target = self._address.base_path + request.target
        self._http.putrequest(request.method, target, skip_accept_encoding=True)
        for name, value in {**headers, **request.headers}.items():
            self._http.putheader(name, value)
        with _sending(request):
            self._http.endheaders()


class _InterruptedSending(Exception):
    """The server answered, or hung up, before the request was out."""


class _Response(HTTPResponse):
    """An answer behind any number of interim ones; `http.client` itself passes over 100 alone."""

    def begin(self) -> None:
        self._await_first_byte()
        super().begin()
        while HTTPStatus.CONTINUE <= self.status < HTTPStatus.OK:
            self.headers = self.msg = None  # type: ignore[assignment]  # what makes it read again
            super().begin()

    def _await_first_byte(self) -> None:
        try:
            first = self.fp.peek(1)
        except ConnectionError as error:
            raise Unanswered(str(error)) from error
        if not first:
            raise Unanswered("the server hung up")


class _UnixConnection(HTTPConnection):
    """HTTP through a Unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        with ExitStack() as on_failure:
            self.sock = on_failure.enter_context(socket.socket(socket.AF_UNIX))
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
            on_failure.pop_all()


def _http(address: Address, timeout: Timeout, tls: ssl.SSLContext | None) -> HTTPConnection:
    match address.scheme:
        case "unix":
            return _UnixConnection(address.socket, timeout.connect)
        case "https":
            return HTTPSConnection(address.host, address.port, timeout=timeout.connect, context=tls)
        case "http":
            return HTTPConnection(address.host, address.port, timeout=timeout.connect)


def _pieces(source: Source, request: Request) -> Iterator[Block]:
    """The body as it goes over the wire."""
    blocks = source.blocks(request.subject)
    return in_chunks(blocks) if source.size is None else blocks


@contextmanager
def _sending(request: Request) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise RequestTimeout("the server stopped taking the request", request.subject) from error
    except OSError as error:
        raise _InterruptedSending from error


def _push(sock: socket.socket, piece: Block, timeout: float | None) -> None:
    """Send a piece, with an eye on the server: it may refuse before it has read all."""
    if isinstance(sock, ssl.SSLSocket):  # a readable one may hold no more than a session ticket
        sock.sendall(piece)
        return
    view = memoryview(piece)
    while view:
        if not (events := _wait(sock, select.POLLIN | select.POLLOUT, timeout)):
            raise TimeoutError
        if events & select.POLLIN and sock.recv(len(_INTERIM), socket.MSG_PEEK) != _INTERIM:
            raise _InterruptedSending
        view = view[sock.send(view) :]


def _receive_head(http: HTTPConnection, request: Request) -> HTTPResponse:
    try:
        return http.getresponse()
    except Unanswered:
        raise
    except TimeoutError as error:
        raise RequestTimeout("no answer came", request.subject) from error
    except ConnectionError as error:
        raise ConnectionFailed(f"the answer broke off: {error}", request.subject) from error
    except (HTTPException, OSError) as error:
        raise ProtocolError(f"the answer is not HTTP: {error!r}", request.subject) from error


def _check_framing(request: Request, response: HTTPResponse) -> None:
    """Refuse a body whose end cannot be told from a cut."""
    lengths = set(response.headers.get_all("content-length", ()))
    if len(lengths) > 1:
        raise ProtocolError(f"several lengths in one answer: {lengths}", request.subject)
    unframed = response.length is None and not response.chunked
    if unframed and response.status < HTTPStatus.BAD_REQUEST:
        raise ProtocolError("the answer does not say how long it is", request.subject)


def _wait(sock: socket.socket, events: int, seconds: float | None) -> int:
    """The events that came within the time, 0 for none."""
    poll = select.poll()
    poll.register(sock, events)
    happened = poll.poll(None if seconds is None else seconds * 1000)
    return happened[0][1] if happened else 0
