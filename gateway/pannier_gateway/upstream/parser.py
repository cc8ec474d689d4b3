"""Bytes become an answer, however they are cut into pieces. Pure: no socket, no clock.

A body of known length is counted here and not looked at, so its pieces may stay where they were
received.
"""

from collections import deque

from pannier_gateway.upstream.chunks import Chunks
from pannier_gateway.upstream.errors import AnswerCut, AnswerMalformed
from pannier_gateway.upstream.head import Head, read_head
from pannier_gateway.upstream.request import Buffer

LONGEST_HEAD = 64 * 1024  # bytes
MOST_INTERIM = 16  # answers before the answer: 100, 103, ...


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
        self._chunks: Chunks | None = None

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
            self._unchunk(self._chunks, data)
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
        head = read_head(text, bodiless=self._bodiless)
        if head.status < 200:
            self._pass_over(head.status)
            return
        self.head = head
        self.owed = head.length
        self.ended = head.length == 0
        if head.chunked:
            self._chunks = Chunks(self.pieces)

    def _pass_over(self, status: int) -> None:
        """The answer is yet to come."""
        self._interim += 1
        self.consented = self.consented or status == 100
        if status == 101:
            raise AnswerMalformed("the server changes to another protocol, unasked")
        if self._interim > MOST_INTERIM:
            raise AnswerMalformed(f"over {MOST_INTERIM} interim answers")

    def _unchunk(self, chunks: Chunks, data: Buffer) -> None:
        chunks.feed(data)
        self.ended = chunks.complete
