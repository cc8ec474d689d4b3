"""HTTP as it stands on the wire: sends exactly what it is told, shows exactly what came back."""

import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

SECONDS = 5.0  # what an answer may take; a connection silent for longer is stuck

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[ -~\t]*[!-~])?)[ \t]*")

Fields = tuple[tuple[str, str], ...]


class NotHttp(AssertionError):
    """What came back is no answer."""


class CutOff(ConnectionError):
    """The connection ended before the answer did; `body` is what had come of it."""

    def __init__(self, body: bytes) -> None:
        super().__init__(f"after {len(body)} bytes of the body")
        self.body = body


@dataclass(frozen=True)
class Answer:
    """One answer; `fields` are its headers in the order and spelling of the wire."""

    status: int
    fields: Fields
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """By lowercase name."""
        return {name.lower(): text for name, text in self.fields}

    @property
    def detail(self) -> str:
        """What a refusal says."""
        assert self.headers["content-type"] == "application/json", self
        detail = json.loads(self.body)["detail"]
        assert isinstance(detail, str)
        return detail


class Wire:
    """A connection to the server at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), timeout=SECONDS)
        self._stream: BufferedIOBase = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One exchange. A body is sent with its length, unless the headers say otherwise."""
        self.send(head(method, target, headers, body) + (body or b""))
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer. Raises NotHttp, CutOff, TimeoutError."""
        return read_answer(self._stream, method)

    def interim(self) -> int:
        """The status of an answer that is not the last word, such as 100."""
        status, fields = _read_head(self._stream)
        assert (status // 100, fields) == (1, ())
        return status

    def rest(self) -> bytes:
        """Whatever still comes until the server hangs up."""
        try:
            return self._stream.read()
        except ConnectionResetError:
            return b""


def exchange(
    url: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One exchange over a connection of its own."""
    with Wire(url) as wire:
        return wire.ask(method, target, headers, body)


def head(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    """A request's head; with the length of `body`, unless `headers` frame it another way."""
    fields = {"host": "test", **(headers or {})}
    if body is not None and not {"content-length", "transfer-encoding"} & fields.keys():
        fields["content-length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode(errors="surrogateescape")


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, ended properly."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def answers(received: bytes) -> Iterator[Answer]:
    """All answers in what came over a connection, none of them to a HEAD; raises as reading does.

    Interim answers (100) are left out.
    """
    stream = BytesIO(received)
    while stream.tell() < len(received):
        answer = read_answer(stream, "GET")
        if answer.status >= 200:
            yield answer


def read_answer(stream: BufferedIOBase, method: str) -> Answer:
    """The next answer, to a request of that method."""
    status, fields = _read_head(stream)
    answer = Answer(status, fields, b"")
    if method == "HEAD" or status < 200 or status in (204, 304):
        return answer
    return Answer(status, fields, _read_body(stream, answer.headers))


def _read_head(stream: BufferedIOBase) -> tuple[int, Fields]:
    line = _line(stream, b"")
    status = _STATUS_LINE.fullmatch(line)
    if status is None:
        raise NotHttp(f"status line {line!r}")
    fields = []
    while line := _line(stream, b""):
        field = _FIELD.fullmatch(line)
        if field is None:
            raise NotHttp(f"header {line!r}")
        fields.append((field[1].decode(), field[2].decode()))
    return int(status[1]), tuple(fields)


def _read_body(stream: BufferedIOBase, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        return _read_chunks(stream)
    if "content-length" in headers:
        return _exactly(stream, int(headers["content-length"]), b"")
    return stream.read()


def _read_chunks(stream: BufferedIOBase) -> bytes:
    body = b""
    while True:
        size = int(_line(stream, body), 16)
        body = _exactly(stream, size, body)
        if _line(stream, body):
            raise NotHttp("a chunk longer than it says")
        if not size:
            return body


def _line(stream: BufferedIOBase, so_far: bytes) -> bytes:
    with suppress(ConnectionResetError):
        line = stream.readline()
        if line.endswith(b"\r\n"):
            return line[:-2]
    raise CutOff(so_far)


def _exactly(stream: BufferedIOBase, size: int, so_far: bytes) -> bytes:
    body = bytearray(so_far)
    missing = size
    with suppress(ConnectionResetError):
        while missing and (piece := stream.read1(missing)):
            body += piece
            missing -= len(piece)
    if missing:
        raise CutOff(bytes(body))
    return bytes(body)
