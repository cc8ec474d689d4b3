"""An answer as it comes in: its head at once, its body counted to the last byte.

Bodies are counted here because `http.client` ends silently on one that is cut short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Protocol, Self

from pannier.errors import ConnectionFailed, PannierError, RequestTimeout, TruncatedBody
from pannier.framing import ChunkedBody, FramedBody, SizedBody
from pannier.plan import Request, ResponseHead

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_DRAINED_BYTES = 64 << 10  # to read this much costs less than a new connection
_READ_BYTES = 256 << 20  # in one piece: pieces that are joined take memory, and time, twice


class Line(Protocol):
    """What an answer needs of the connection that it comes over."""

    @property
    def pid(self) -> int: ...
    def hurry(self) -> None: ...
    def close(self) -> None: ...


class Answer:
    """The head of an answer, and its body as it comes in. A `with` block gives both up."""

    def __init__(
        self,
        line: Line,
        request: Request,
        response: HTTPResponse,
        give_back: Callable[[], None],
    ) -> None:
        self.head = ResponseHead(response.status, tuple(response.headers.items()))
        self.length = response.length  # None: chunked, so known at the end only
        self.received = 0
        self._line = line
        self._request = request
        self._response = response
        self._give_back = give_back
        self._body = _framed(response)
        self._failure: PannierError | None = None
        self._end_if_ended()

    def __repr__(self) -> str:
        return f"<Answer {self.head.status} {self.progress} bytes>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def progress(self) -> str:
        """How much is in, of how much."""
        return f"{self.received}/{'?' if self.length is None else self.length}"

    def read(self, size: int) -> bytes:
        """`size` bytes, less at the end only. Raises TruncatedBody, RequestTimeout."""
        if self._body.ended or size == 0:
            return b""
        with self._receiving():
            data = self._body.read(size)
        self._count(len(data))
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Put bytes into the buffer and return how many, 0 at the end only."""
        view = memoryview(buffer).cast("B")
        if self._body.ended or not view:
            return 0
        with self._receiving():
            size = self._body.readinto(view)
        self._count(size)
        return size

    def read_all(self) -> bytes:
        """All that is left."""
        return b"".join(iter(lambda: self.read(_READ_BYTES), b""))

    def excerpt(self) -> bytes:
        """The beginning of the body, or nothing if it does not come: the words of a refusal."""
        with suppress(PannierError):
            return self.read(_DRAINED_BYTES)
        return b""

    def close(self) -> None:
        """Keep the connection when little of the body is left, else drop it."""
        if self._response.isclosed():
            return
        if self._line.pid == os.getpid() and not self._response.will_close:
            self._drain()
        if not self._body.ended:
            self._drop()

    def _drain(self) -> None:
        left = _DRAINED_BYTES if self.length is None else self.length - self.received
        if left <= _DRAINED_BYTES:
            self._line.hurry()
            with suppress(PannierError):
                self.read(left + 1)

    @contextmanager
    def _receiving(self) -> Iterator[None]:
        if self._failure is not None:
            raise self._failure
        if self._line.pid != os.getpid():
            raise ConnectionFailed("this body belongs to the parent process", self._request.subject)
        try:
            yield
        except TimeoutError as error:
            raise self._failed(RequestTimeout, "the server fell silent") from error
        except (OSError, EOFError) as error:
            raise self._failed(TruncatedBody, str(error)) from error

    def _failed(self, kind: type[PannierError], why: str) -> PannierError:
        self._drop()
        self._failure = kind(f"{why}, at {self.progress} bytes", self._request.subject)
        return self._failure

    def _count(self, size: int) -> None:
        self.received += size
        self._end_if_ended()

    def _end_if_ended(self) -> None:
        if self._body.ended:
            self._response.close()
            self._give_back()

    def _drop(self) -> None:
        self._response.close()
        self._line.close()


def _framed(response: HTTPResponse) -> FramedBody:
    if response.length is None and response.chunked:
        return ChunkedBody(response.fp)
    # a refusal that ends with its connection is read as far as its words are wanted
    return SizedBody(response.fp, _DRAINED_BYTES if response.length is None else response.length)
