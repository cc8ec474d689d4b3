"""An object upstream held open: the answer that came with its record, and ranges as asked."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial

from pannier_gateway.errors import StoreMisanswered
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Record
from pannier_gateway.stores.connecting import broken
from pannier_gateway.upstream.connection import Answer
from pannier_gateway.upstream.errors import ExchangeError

WHOLE = 64 * 1024  # bytes up to which a body is taken at once, and its connection given back

AskRange = Callable[[Span], AbstractAsyncContextManager[Answer]]
"""Asks for a span of that very version. Raises ObjectReplaced where it is gone."""


class UpstreamReading:
    """The first reader from the first byte on gets the bytes that came with the record."""

    def __init__(self, place: str, record: Record, answer: Answer, ask: AskRange) -> None:
        if answer.length not in (None, record.size):
            raise StoreMisanswered(f"{place} sends {answer.length} of {record.size} bytes")
        self.record = record
        self.whole: bytes | None = None
        self._place = place
        self._answer: Answer | None = answer
        self._ask = ask

    async def take_whole(self) -> None:
        """Have all of the bytes at hand."""
        self.whole = b"".join([bytes(piece) async for piece in self.chunks(self._all)])

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        if self.whole is not None:
            yield memoryview(self.whole)[span.start : span.stop]
            return
        if not span.size:
            return
        answer, self._answer = self._answer, None
        if answer is not None and span.start == 0:
            async with aclosing(self._pieces(answer, span.size)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        async with self._ask(span) as asked, aclosing(self._pieces(asked, span.size)) as pieces:
            async for piece in pieces:
                yield piece

    @property
    def _all(self) -> Span:
        return Span(0, self.record.size)

    async def _pieces(self, answer: Answer, size: int) -> AsyncGenerator[Buffer, None]:
        """The first `size` bytes; a chunked answer may have had fewer."""
        try:
            async with aclosing(answer.pieces()) as pieces:
                async for piece in pieces:
                    yield piece[:size]
                    size -= len(piece)
                    if size <= 0:
                        return
        except ExchangeError as error:
            raise broken(self._place, error, "an objectstore", "check endpoints") from error
        raise StoreMisanswered(f"{self._place} sends {size} bytes too few")


@asynccontextmanager
async def held(
    place: str,
    asking: AbstractAsyncContextManager[Answer],
    record_of: Callable[[Answer], Record],
    ask: Callable[[Record, Span], AbstractAsyncContextManager[Answer]],
) -> AsyncIterator[UpstreamReading]:
    """What was asked for, held open; if it is small, its connection serves others already."""
    async with asking as answer:
        record = record_of(answer)
        reading = UpstreamReading(place, record, answer, partial(ask, record))
        if record.size > WHOLE:
            yield reading
            return
        await reading.take_whole()
    yield reading
