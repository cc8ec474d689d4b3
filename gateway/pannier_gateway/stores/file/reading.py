"""Objects of the file store, held open while they are read."""

from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from functools import partial
from types import TracebackType

from pannier_gateway.errors import Damaged
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.file.body import BodyReader
from pannier_gateway.stores.file.checksum import whole_checksum
from pannier_gateway.stores.file.index import Row, signed
from pannier_gateway.threads import in_thread

PIECE = 1024 * 1024  # bytes that one trip to a worker thread moves


class SmallReading:
    """A body that came with its row. Raises Damaged when it is not what was stored."""

    def __init__(self, row: Row, data: bytes | None) -> None:
        if data is None or signed(whole_checksum(data)) != row.checksum:
            raise Damaged(f"the body of {row.path!r} fails its checksum")
        self.record = row.record
        self.whole: bytes | None = data

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        yield memoryview(self.whole or b"")[span.start : span.stop]

    def close(self) -> None:
        pass


class FileReading:
    """A body in a file, read in pieces that were checked before they are handed out."""

    whole: bytes | None = None

    def __init__(self, row: Row, reader: BodyReader, pool: Executor) -> None:
        self.record = row.record
        self._reader = reader
        self._pool = pool

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        for start in range(span.start, span.stop, PIECE):
            piece = Span(start, min(start + PIECE, span.stop))
            yield await in_thread(self._pool, partial(self._reader.read, piece))

    def close(self) -> None:
        self._reader.close()


class Opening:
    """`async with` of it looks the object up and holds it open."""

    def __init__(self, find: Callable[[], SmallReading | FileReading]) -> None:
        self._find = find

    async def __aenter__(self) -> SmallReading | FileReading:
        self._reading = self._find()
        return self._reading

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading.close()
