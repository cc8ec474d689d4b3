"""HTTP as it stands on the wire: sends exactly what it is told, shows exactly what came back."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import urlsplit

SECONDS = 5.0  # what an answer may take; a connection silent for longer is stuck

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [ -~]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[ -~\t]*[!-~])?)[ \t]*\r\n")


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
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """By lowercase name."""
        return lowered(self.fields)

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
        self._stream: BinaryIO = self.sock.makefile("rb")

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
        status, fields = self._head()
        return Answer(status, fields, self._body(method, status, lowered(fields)))

    def interim(self) -> int:
        """The status of an answer that is not the last word, such as 100."""
        status, fields = self._head()
        assert (status // 100, fields) == (1, ())
        return status

    def rest(self) -> bytes:
        """Whatever still comes until the server hangs up."""
        try:
            return self._stream.read()
        except ConnectionResetError:
            return b""

    def _head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        line = self._stream.readline()
        if not line:
            raise CutOff(b"")
        status = _STATUS_LINE.fullmatch(line)
        if status is None:
            raise NotHttp(f"status line {line!r}")
        fields = []
        while (line := self._stream.readline()) != b"\r\n":
            field = _FIELD.fullmatch(line)
            if field is None:
                raise NotHttp(f"header {line!r}")
            fields.append((field[1].decode(), field[2].decode()))
        return int(status[1]), tuple(fields)

    def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        if method == "HEAD" or status in (204, 304):
            return b""
        if headers.get("transfer-encoding") == "chunked":
            return self._chunks()
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]), b"")
        return self._stream.read()

    def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self._line(body), 16)
            body = self._exactly(size, body)
            if self._line(body):
                raise NotHttp("a chunk longer than it says")
            if not size:
                return body

    def _line(self, so_far: bytes) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise CutOff(so_far)
        return line[:-2]

    def _exactly(self, size: int, so_far: bytes) -> bytes:
        try:
            data = self._stream.read(size)
        except ConnectionResetError as error:
            raise CutOff(so_far) from error
        if len(data) < size:
            raise CutOff(so_far + data)
        return so_far + data


def lowered(fields: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name.lower(): text for name, text in fields}


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
