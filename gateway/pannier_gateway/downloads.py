"""The bytes of an answer, made from what is stored: as they are, a part of them, or decoded."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from pannier_gateway.codec import (
    FOOTER_SIZE,
    DecodeError,
    Decoding,
    NoRoom,
    SeekTable,
    SeekTables,
    decode_frame,
    table_span,
    trimmed,
)
from pannier_gateway.codec.streams import Stream
from pannier_gateway.codec.workers import Workers
from pannier_gateway.errors import Damaged, MemoryFull
from pannier_gateway.representation import Answer
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Reading
from pannier_gateway.threads import in_thread

SMALL = 256 * 1024  # decoded bytes that are decoded on the event loop: a quarter of a millisecond
AT_HAND = 64 * 1024  # bytes up to which an answer is not counted: a connection may take as much
SENDING = 288 * 1024  # bytes that a reader of what is stored holds: a piece of the store's
BOMB_RATIO = 1024  # what a body of unknown decoded size may grow by
UNDECODABLE = "the stored bytes do not decode"

Pieces = Stream | AsyncGenerator[bytes, None] | AsyncGenerator[Buffer, None]
OutgoingBody = Buffer | AsyncGenerator[Buffer, None]  # at hand, or piece by piece


async def body_of(
    reading: Reading, answer: Answer, workers: Workers, tables: SeekTables
) -> OutgoingBody:
    """Raises, now or while it is read, Damaged where the stored bytes are not what they were.

    MemoryFull is raised now; later only by bodies whose later frames have larger windows.
    """
    if answer.decoded:
        return await decoded(reading, answer, workers, tables)
    span = answer.span or Span(0, reading.record.size)
    if reading.whole is None:
        return await stored(reading, span, workers)
    return reading.whole if answer.span is None else memoryview(reading.whole)[slice(*span)]


async def stored(reading: Reading, span: Span, workers: Workers) -> AsyncGenerator[Buffer, None]:
    """The bytes of `span` as they are stored. Raises MemoryFull, and what they begin with."""
    return await started(held(reading.chunks(span), SENDING, workers))


async def decoded(
    reading: Reading, answer: Answer, workers: Workers, tables: SeekTables
) -> OutgoingBody:
    size, span = answer.size, answer.span
    if reading.whole is not None and size is not None and size <= SMALL:
        at_once = decode_frame(reading.whole, size)
        if at_once is not None and len(at_once) == size:
            part = at_once if span is None else at_once[slice(*span)]
            if len(part) <= AT_HAND:
                return part
            return await started(held(once(part), len(part), workers))
    if span is not None and size is not None:
        return await started(await decoded_range(reading, span, size, workers, tables))
    everything = Span(0, reading.record.size)
    limit = (everything.size + 1024) * BOMB_RATIO if size is None else size
    return await started(decoding(reading, everything, limit, workers, exact=size is not None))


async def decoded_range(
    reading: Reading, span: Span, size: int, workers: Workers, tables: SeekTables
) -> AsyncGenerator[bytes, None]:
    """Decode what holds `span`: some frames where we wrote a table, else from the start."""
    by_client = reading.record.attributes.by_client
    table = None if by_client else await seek_table(reading, workers, tables)
    if table is None or table.original_size != size:
        everything = decoding(reading, Span(0, reading.record.size), size, workers, exact=True)
        return trimmed(everything, span.start, span.size)
    frames = table.locate(span)
    return trimmed(
        decoding(reading, frames.stored, frames.decoded, workers, exact=True),
        frames.skip,
        frames.take,
    )


async def seek_table(reading: Reading, workers: Workers, tables: SeekTables) -> SeekTable | None:
    path, etag = reading.record.path, reading.record.etag
    table = tables.get(path, etag)
    if table is None:
        table = await read_table(reading, workers)
        if table is not None:
            tables.keep(path, etag, table)
    return table


async def read_table(reading: Reading, workers: Workers) -> SeekTable | None:
    size = reading.record.size
    tail = await read_all(reading, Span(max(0, size - FOOTER_SIZE), size))
    span = table_span(size, tail)
    if span is None:
        return None
    table = await read_all(reading, span)
    return await in_thread(workers.executor, partial(SeekTable.parse, size, table))


async def read_all(reading: Reading, span: Span) -> bytes:
    return b"".join([bytes(piece) async for piece in reading.chunks(span)])


def decoding(
    reading: Reading, stored: Span, limit: int, workers: Workers, *, exact: bool
) -> Decoding:
    foreign = reading.record.attributes.by_client
    return Decoding(reading.chunks(stored), limit, workers, exact=exact, foreign=foreign)


async def held(
    pieces: AsyncGenerator[Buffer, None], size: int, workers: Workers
) -> AsyncGenerator[Buffer, None]:
    """The same pieces, while `size` bytes of the budget are taken for them."""
    with workers.budget.lease() as room:
        await room.hold(size)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


async def once(piece: Buffer) -> AsyncGenerator[Buffer, None]:
    yield piece


async def started(pieces: Pieces) -> AsyncGenerator[Buffer, None]:
    """A body, once its first piece is there: what fails by then is told in its place."""
    body = checked(pieces)
    await anext(body)
    return body


async def checked(pieces: Pieces) -> AsyncGenerator[Buffer, None]:
    """A piece of nothing as soon as there is something, then all of it."""
    try:
        async with aclosing(pieces):
            piece = await anext(pieces, None)
            yield b""
            while piece is not None:
                yield piece
                del piece  # not to be kept while the next one is made
                piece = await anext(pieces, None)
    except DecodeError as error:
        raise Damaged(UNDECODABLE) from error
    except NoRoom as error:
        raise MemoryFull() from error
