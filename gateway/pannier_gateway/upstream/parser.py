"""Bytes become an answer, however they are cut into pieces. Pure: no socket, no clock.

The head goes through httptools. A body of known length is counted here and not looked at, so its
pieces may stay where they were received; httptools takes chunked ones apart.
"""

from collections import deque

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from pannier_gateway.upstream.errors import AnswerCut, AnswerMalformed
from pannier_gateway.upstream.request import Buffer

LONGEST_HEAD = 64 * 1024  # bytes
MOST_HEADERS = 256
MOST_INTERIM = 16  # answers before the answer: 100, 103, ...
NEVER_A_BODY = (204, 304)
CHUNK_OVERHEAD = 64  # bytes of framing that each byte of a chunked body may cost


class Head(Struct, frozen=True):
    """Status and headers of an answer, names in lowercase; of a repeated one, values joined.

    `length` is the bytes of body that follow; None: it ends where the server says so.
    """

    status: int
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool


class AnswerParser:
    """One answer, fed with pieces. What it has found lies in `head` and `pieces`.

    `bodiless` is for an answer to HEAD. `consented` tells that the server said 100 Continue.
    """

    def __init__(self, *, bodiless: bool = False) -> None:
        self.head: Head | None = None
        self.pieces: deque[Buffer] = deque()
        self.begun = False
        self.consented = False
        self.ended = False
        self.owed: int | None = None  # bytes of body to come, where that is known
        self._bodiless = bodiless
        self._unparsed = b""
        self._interim = 0
        self._chunks: Reader | None = None
        self._overhead = LONGEST_HEAD  # bytes of framing that a chunked body may still cost

    def __repr__(self) -> str:
        return f"<AnswerParser {self.head and self.head.status}, owed {self.owed}>"

    @property
    def keeping(self) -> bool:
        """What is fed next is kept as it is, not copied."""
        return self.head is not None and self._chunks is None

    @property
    def waiting(self) -> int:
        """Bytes of body that nobody has taken yet."""
        return sum(map(len, self.pieces))

    def feed(self, data: Buffer) -> None:
        """Take the next bytes. Raises AnswerMalformed."""
        if not data:
            return
        self.begun = True
        if self.owed:
            self._count(data)
        elif self.ended:
            raise AnswerMalformed(f"bytes that nobody asked for: {bytes(data[:40])!r}")
        elif self._chunks is not None:
            self._unchunk(data)
        elif self.head is not None:
            self.pieces.append(data)
        else:
            self._read_head(data)

    def end(self) -> None:
        """The connection has ended. Raises AnswerCut unless the answer is whole."""
        if self.ended:
            return
        if self.head is None:
            raise AnswerCut("the connection ended within the head of an answer", None)
        if self.owed is None and self._chunks is None:
            self.ended = True
        elif self.owed is None:
            raise AnswerCut("the connection ended before the last chunk", None)
        else:
            raise AnswerCut(f"the connection ended {self.owed} bytes too early", self.owed)

    def _count(self, data: Buffer) -> None:
        assert self.owed is not None
        if len(data) > self.owed:
            raise AnswerMalformed(f"{len(data) - self.owed} bytes more than content-length says")
        self.owed -= len(data)
        self.ended = self.owed == 0
        self.pieces.append(data)

    def _read_head(self, data: Buffer) -> None:
        searched = max(0, len(self._unparsed) - 3)
        unparsed = self._unparsed + data
        end = unparsed.find(b"\r\n\r\n", searched)
        if (len(unparsed) if end < 0 else end) > LONGEST_HEAD:
            raise AnswerMalformed(f"a head of over {LONGEST_HEAD} bytes")
        if end < 0:
            self._unparsed = unparsed
            if not b"HTTP/1.".startswith(unparsed[:7]):
                raise AnswerMalformed(f"no answer in HTTP/1.1: {unparsed[:40]!r}")
            return
        self._unparsed = b""
        self._take_head(unparsed[: end + 4])
        self.feed(unparsed[end + 4 :])

    def _take_head(self, text: bytes) -> None:
        reader = Reader(self.pieces)
        status = reader.read_head(text)
        if 100 <= status < 200:
            self._interim += 1
            self.consented = self.consented or status == 100
            if self._interim > MOST_INTERIM:
                raise AnswerMalformed(f"over {MOST_INTERIM} interim answers")
            return
        self.head = reader.head(status, bodiless=self._bodiless)
        self.owed = self.head.length
        self.ended = self.owed == 0
        if self.head.chunked:
            self._chunks = reader

    def _unchunk(self, data: Buffer) -> None:
        assert self._chunks is not None
        self._overhead += CHUNK_OVERHEAD * self._chunks.read_chunks(data) - len(data)
        if self._overhead < 0:
            raise AnswerMalformed("a chunked body that is framing for the most part")
        self.ended = self._chunks.complete


class Reader:
    """What httptools calls: gathers the headers of one answer, and then the chunks if there are."""

    def __init__(self, body: deque[Buffer]) -> None:
        self.complete = False
        self._parser = HttpResponseParser(self)
        self._body = body
        self._headers: dict[str, str] = {}
        self._count = 0
        self._gained = 0
        self._past_head = False
        self._beyond = False

    def read_head(self, text: bytes) -> int:
        """The status. Raises AnswerMalformed for what is not a head of HTTP/1.1."""
        self._feed(text)
        if self._count > MOST_HEADERS:
            raise AnswerMalformed(f"over {MOST_HEADERS} headers")
        return self._parser.get_status_code()

    def head(self, status: int, *, bodiless: bool) -> Head:
        coding = self._headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise AnswerMalformed(f"transfer-encoding {coding[:40]!r}: only chunked is understood")
        empty = bodiless or status in NEVER_A_BODY
        length = 0 if empty else self._stated_length()
        chunked = coding is not None and not empty
        delimited = chunked or length is not None
        return Head(status, self._headers, length, chunked, delimited and self._stays_open())

    def read_chunks(self, data: Buffer) -> int:
        """How many bytes of body were in `data`. Raises AnswerMalformed."""
        self._gained = 0
        self._feed(data)
        if self._beyond:
            raise AnswerMalformed("bytes after the last chunk")
        return self._gained

    def _stated_length(self) -> int | None:
        stated = self._headers.get("content-length")
        if stated is not None and not stated.isdecimal():
            raise AnswerMalformed(f"content-length {stated[:40]!r} is no number")
        return None if stated is None else int(stated)

    def _stays_open(self) -> bool:
        options = self._headers.get("connection", "").lower()
        return self._parser.get_http_version() == "1.1" and "close" not in options

    def _feed(self, data: Buffer) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as error:
            raise AnswerMalformed("the server changes to another protocol, unasked") from error
        except HttpParserError as error:
            raise AnswerMalformed(f"no answer in HTTP/1.1: {error}") from error

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._past_head:
            return  # a trailer: nothing here asks for any
        self._count += 1
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        self._past_head = True

    def on_body(self, body: bytes) -> None:
        self._gained += len(body)
        self._body.append(body)

    def on_message_begin(self) -> None:
        self._beyond = self.complete

    def on_message_complete(self) -> None:
        self.complete = True
