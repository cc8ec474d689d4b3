"""An object on its way in: its metadata, and its bytes as a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from pannier.answer import Answer
from pannier.protocol.metadata import Metadata
from pannier.results import ByteRange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 256 << 10


class GetResult(io.RawIOBase):
    """A binary file that is read once, from front to end; close it, or use it as a `with` block.

    Iteration gives chunks of up to 256 KiB, not lines. However it is read, a body that breaks off
    raises TruncatedBody and a server that falls silent RequestTimeout: the end of the file is
    reached only by a complete object.

    `range` is what a ranged get answered, else None. `length` is the bytes of this body, None
    where the server does not say before the end.
    """

    def __init__(self, answer: Answer, metadata: Metadata, span: ByteRange | None) -> None:
        super().__init__()
        self.metadata = metadata
        self.range = span
        self._answer = answer

    def __repr__(self) -> str:
        return f"<GetResult {self._answer.progress} bytes{' closed' if self.closed else ''}>"

    @property
    def length(self) -> int | None:
        return self._answer.length

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes, or fewer if the end is nearer; all that is left by default."""
        self._check_open()
        if size is None or size < 0:
            return self._answer.read_all()
        return self._answer.read(size)

    def readall(self) -> bytes:
        """All that is left."""
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer; return how many bytes it got, 0 at the end."""
        self._check_open()
        return self._answer.readinto(buffer)

    def __next__(self) -> bytes:
        if chunk := self.read(_CHUNK_BYTES):
            return chunk
        raise StopIteration

    def close(self) -> None:
        """Let the connection go: kept for others if little of the body is left, else dropped."""
        if not self.closed:
            self._answer.close()
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the result is closed: its object has to be asked for again")
