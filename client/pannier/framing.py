"""Where a body ends: by its length or by its last chunk, counted strictly, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pannier.source import Block

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LONGEST_LINE = 16 << 10
_MOST_TRAILERS = 100


class BufferedFile(Protocol):
    """The receiving side of a connection. It gives less than asked for at the end only."""

    def read(self, size: int, /) -> bytes: ...
    def readinto(self, buffer: memoryview, /) -> int: ...
    def readline(self, limit: int, /) -> bytes: ...


class FramedBody(Protocol):
    """A body that knows its end; both ways of reading raise EOFError when it breaks off before."""

    @property
    def ended(self) -> bool: ...
    def read(self, size: int) -> bytes: ...
    def readinto(self, view: memoryview) -> int: ...


class SizedBody:
    """A body with a content-length."""

    def __init__(self, file: BufferedFile, size: int) -> None:
        self._file = file
        self._left = size

    @property
    def ended(self) -> bool:
        return self._left == 0

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._take(len(data))
        return data

    def readinto(self, view: memoryview) -> int:
        size = self._file.readinto(view[: self._left])
        self._take(size)
        return size

    def _take(self, size: int) -> None:
        if size == 0 and self._left:
            raise EOFError("the connection ended")
        self._left -= size


class ChunkedBody:
    """A body in chunks. It has ended when the last chunk and the trailer are in, not before."""

    def __init__(self, file: BufferedFile) -> None:
        self.ended = False
        self._file = file
        self._left = 0
        self._in_chunk = False

    def read(self, size: int) -> bytes:
        pieces = []
        while size and self._has_more():
            pieces.append(self._file.read(min(size, self._left)))
            self._take(len(pieces[-1]))
            size -= len(pieces[-1])
        return b"".join(pieces)

    def readinto(self, view: memoryview) -> int:
        if not self._has_more():
            return 0
        size = self._file.readinto(view[: self._left])
        self._take(size)
        return size

    def _take(self, size: int) -> None:
        if size == 0:
            raise EOFError("the connection ended in a chunk")
        self._left -= size

    def _has_more(self) -> bool:
        """Whether the current chunk has bytes left, after going to the next one if need be."""
        if not self._left and not self.ended:
            self._open_chunk()
        return not self.ended

    def _open_chunk(self) -> None:
        if self._in_chunk and self._line() not in (b"\r\n", b"\n"):
            raise EOFError("a chunk does not end where it said")
        self._left = self._chunk_size()
        self._in_chunk = True
        if self._left == 0:
            self._skip_trailer()
            self.ended = True

    def _chunk_size(self) -> int:
        line = self._line()
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise EOFError(f"no chunk begins with {line[:40]!r}")
        return int(match[1], 16)

    def _skip_trailer(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if self._line() in (b"\r\n", b"\n"):
                return
        raise EOFError("the trailer has no end")

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise EOFError("the connection ended between chunks")
        return line


def in_chunks(blocks: Iterator[Block]) -> Iterator[bytes]:
    """Frame blocks, none of them empty, as chunks, with the last chunk behind them."""
    for block in blocks:
        yield b"".join((b"%x\r\n" % len(block), block, b"\r\n"))
    yield b"0\r\n\r\n"
