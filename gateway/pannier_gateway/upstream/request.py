"""A request as it will stand on the wire: nothing is added to it but how its body is framed."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

Buffer = bytes | memoryview
Headers = Sequence[tuple[str, str]]

BODILESS = ("GET", "HEAD", "DELETE")


class Streamed(Struct, frozen=True):
    """A body that comes in pieces: `length` bytes, or chunked where nobody knows how many.

    A piece is written out before the next is asked for, so it may live in a buffer that is reused.
    """

    pieces: AsyncIterable[Buffer]
    length: int | None = None


class Request(Struct, frozen=True):
    """One request. `target` is raw, `headers` are all there are (`host` too), without framing.

    With `expect` the body waits for the server's consent, as long as the server cares to answer.
    """

    method: str
    target: str
    headers: Headers
    body: Buffer | Streamed = b""
    expect: bool = False

    def head(self) -> bytes:
        """The bytes before the body. Raises ValueError for what would break out of its line."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *map(": ".join, self.headers)]
        if framing := self._framing():
            lines.append(framing)
        if self.expect:
            lines.append("expect: 100-continue")
        text = "\r\n".join(lines)
        if not text.count("\n") == text.count("\r") == len(lines) - 1 or "\0" in text:
            raise ValueError(f"{self.method} {self.target!r}: a header is more than a line")
        return f"{text}\r\n\r\n".encode("latin-1")

    def _framing(self) -> str | None:
        match self.body:
            case Streamed(length=None):
                return "transfer-encoding: chunked"
            case Streamed(length=length):
                return f"content-length: {length}"
            case body if body or self.method not in BODILESS:
                return f"content-length: {len(body)}"
        return None


@asynccontextmanager
async def taken(pieces: AsyncIterable[Buffer]) -> AsyncIterator[AsyncIterator[Buffer]]:
    """Go through them; what is left of them at the end of the block is closed with it, not by the
    loop at some later time."""
    each = aiter(pieces)
    try:
        yield each
    finally:
        if isinstance(each, AsyncGenerator):
            await each.aclose()
