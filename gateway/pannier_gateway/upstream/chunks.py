"""A chunked body, taken apart by httptools."""

from collections import deque

from httptools import HttpParserError, HttpResponseParser

from pannier_gateway.upstream.errors import AnswerMalformed
from pannier_gateway.upstream.request import Buffer

OVERHEAD = 64  # bytes of framing that each byte of a body may cost
HEADROOM = 64 * 1024  # bytes of framing besides
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"  # what httptools has to see before


class Chunks:
    """Puts the bytes of the body into `into`, as they come; `complete` after the last chunk."""

    def __init__(self, into: deque[Buffer]) -> None:
        self.complete = False
        self._into = into
        self._gained = 0  # bytes of body
        self._overhead = HEADROOM  # bytes of framing that may still come
        self._beyond = False
        self._parser = HttpResponseParser(self)
        self._parser.feed_data(HEAD)

    def feed(self, data: Buffer) -> None:
        """Take the next bytes. Raises AnswerMalformed."""
        self._gained = 0
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            raise AnswerMalformed(f"no chunks: {error}") from error
        if self._beyond:
            raise AnswerMalformed("bytes after the last chunk")
        self._overhead += OVERHEAD * self._gained - len(data)
        if self._overhead < 0:
            raise AnswerMalformed("a chunked body that is framing for the most part")

    # What httptools calls

    def on_message_begin(self) -> None:
        self._beyond = self.complete

    def on_body(self, body: bytes) -> None:
        self._gained += len(body)
        self._into.append(body)

    def on_message_complete(self) -> None:
        self.complete = True
