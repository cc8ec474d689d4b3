"""A server over raw sockets that does exactly what its script says, however wrong that is."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

OK_PUT = b'HTTP/1.1 200 OK\r\netag: "e1"\r\ncontent-length: 11\r\n\r\n{"key":"k"}'


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    """A complete answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


@dataclass(frozen=True)
class Received:
    """A request as it stood on the wire; names of headers in lowercase."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file: BinaryIO = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read_head(self) -> Received | None:
        """The next request without its body, or None when the client has left."""
        line = self._file.readline().decode()
        if not line:
            return None
        method, target, _ = line.split(" ")
        headers = dict(self._header_lines())
        return Received(method, target, headers, b"")

    def read_request(self) -> Received | None:
        head = self.read_head()
        if head is None:
            return None
        return Received(head.method, head.target, head.headers, self.read_body(head))

    def read_body(self, head: Received) -> bytes:
        if head.headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self._file.read(int(head.headers.get("content-length", 0)))

    def wait_for_end(self) -> bytes:
        """Whatever still comes until the client hangs up."""
        return self._file.read()

    def reset(self) -> None:
        """End the connection with RST rather than FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def _header_lines(self) -> Iterator[tuple[str, str]]:
        while line := self._file.readline().strip().decode():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()

    def _read_chunk(self) -> bytes:
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        self._file.readline()
        return data


Script = Callable[[Peer], object]


@dataclass
class ScriptedServer:
    """What clients see is `url`; what they did is `requests` and `connections`."""

    url: str
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    failures: list[BaseException] = field(default_factory=list)
    last_caller: object = None

    @property
    def request(self) -> Received:
        """The only request there was."""
        (request,) = self.requests
        return request

    def answering(self, answers: Iterable[bytes]) -> Script:
        """Answer the requests of a connection in turn, then hang up."""

        def script(peer: Peer) -> None:
            for reply in answers:
                request = peer.read_request()
                if request is None:
                    return
                self.requests.append(request)
                peer.send(reply)

        return script


@contextmanager
def serving(
    *scripts: Script | tuple[bytes, ...] | bytes,
    unix: Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[ScriptedServer]:
    """Serve one script per connection in turn, the last one for all that follow.

    A tuple stands for the answers that a connection gives before it hangs up, bytes for the one
    that it gives always. What goes wrong in a script fails the test.
    """
    listener = _listen(unix)
    server = ScriptedServer(_url(listener, unix, tls))
    played = [_script(server, each) for each in scripts]
    thread = threading.Thread(target=_accept, args=(listener, server, played, tls))
    thread.start()
    try:
        yield server
    finally:
        _hang_up_last(listener, server)
        thread.join()
        listener.close()
    assert not server.failures, server.failures


def _script(server: ScriptedServer, script: Script | tuple[bytes, ...] | bytes) -> Script:
    if isinstance(script, bytes):
        return server.answering(repeat(script))
    return server.answering(script) if isinstance(script, tuple) else script


def _listen(unix: Path | None) -> socket.socket:
    if unix is None:
        return socket.create_server(("127.0.0.1", 0))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(unix))
    listener.listen()
    return listener


def _url(listener: socket.socket, unix: Path | None, tls: ssl.SSLContext | None) -> str:
    if unix is not None:
        return f"unix://{unix}"
    return f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"


def _hang_up_last(listener: socket.socket, server: ScriptedServer) -> None:
    """Call as one whom the server knows: everybody who called before has been let in by then."""
    with socket.socket(listener.family) as caller:
        caller.bind(("127.0.0.1", 0) if listener.family == socket.AF_INET else "")
        server.last_caller = caller.getsockname()
        caller.connect(listener.getsockname())


def _accept(
    listener: socket.socket,
    server: ScriptedServer,
    scripts: list[Script],
    tls: ssl.SSLContext | None,
) -> None:
    threads = []
    while True:
        sock, caller = listener.accept()
        if caller == server.last_caller:
            sock.close()
            break
        script = scripts[min(server.connections, len(scripts) - 1)]
        server.connections += 1
        threads.append(threading.Thread(target=_play, args=(sock, server, script, tls)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _play(
    sock: socket.socket, server: ScriptedServer, script: Script, tls: ssl.SSLContext | None
) -> None:
    try:
        with sock if tls is None else tls.wrap_socket(sock, server_side=True) as wrapped:
            peer = Peer(wrapped)
            try:
                script(peer)
            finally:
                peer.close()
    except (ConnectionError, ssl.SSLError):
        pass  # clients may hang up when they like
    except BaseException as error:  # noqa: BLE001  # the test asserts that there is none
        server.failures.append(error)
