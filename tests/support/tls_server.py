"""A server behind TLS that answers everything with 204, and notes who has come.

It has threads of its own: asyncio's servers close on a client that they refuse without an alert.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import socket
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

from pannier_gateway.upstream.pool import Endpoint, TlsContext

LONGEST_SECONDS = 20
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class TlsServer:
    """`callers` are the serial numbers of the certificates that asked, one for each request."""

    port: int
    callers: list[str] = field(default_factory=list)

    def endpoint(self, tls: TlsContext, server_name: str | None = None) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, tls, server_name)


class Server(ThreadingTCPServer):
    """One thread per connection; closing waits for them."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), BaseRequestHandler)
        self.callers: list[str] = []
        self._context = context

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket)
        request.settimeout(LONGEST_SECONDS)
        with self._context.wrap_socket(request, server_side=True) as tls:
            shown = tls.getpeercert() or {"serialNumber": "none"}
            while head := tls.recv(8192):
                assert head.endswith(b"\r\n\r\n")
                self.callers.append(str(shown["serialNumber"]))
                tls.sendall(ANSWER)

    def handle_error(self, request: object, client_address: object) -> None:
        """A handshake has failed, or the client has left."""


@contextmanager
def serving_tls(context: ssl.SSLContext) -> Iterator[TlsServer]:
    with Server(context) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield TlsServer(server.server_address[1], server.callers)
        server.shutdown()
