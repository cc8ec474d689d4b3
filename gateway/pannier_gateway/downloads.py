"""The bytes of an answer, made from what is stored: as they are, a part of them, or decoded."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from pannier_gateway.codec import (
    FOOTER_SIZE,
    DecodeError,
    Decoding,
    SeekTable,
    decode_small,
    table_span,
    trimmed,
)
from pannier_gateway.codec.streams import Stream
from pannier_gateway.codec.workers import Workers
from pannier_gateway.errors import Damaged
from pannier_gateway.representation import Answer
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Reading

SMALL = 256 * 1024  # decoded bytes that are decoded on the event loop: a quarter of a millisecond
BOMB_RATIO = 1024  # what a body of unknown decoded size may grow by
UNDECODABLE = "the stored bytes do not decode"

OutgoingBody = Buffer | AsyncGenerator[Buffer, None]  # at hand, or piece by piece


async def body_of(reading: Reading, answer: Answer, workers: Workers) -> OutgoingBody:
    """Raises Damaged, now or while it is read, where the stored bytes are not what they were."""
    if answer.decoded:
        return await decoded(reading, answer, workers)
    span = answer.span or Span(0, reading.record.size)
    if reading.whole is None:
        return reading.chunks(span)
    return reading.whole if answer.span is None else memoryview(reading.whole)[slice(*span)]


async def decoded(reading: Reading, answer: Answer, workers: Workers) -> OutgoingBody:
    size = answer.size
    if reading.whole is not None and size is not None and size <= SMALL:
        return decoded_whole(reading.whole, size, answer.span)
    if answer.span is not None and size is not None:
        return checked(await decoded_range(reading, answer.span, size, workers))
    stored = Span(0, reading.record.size)
    limit = (stored.size + 1024) * BOMB_RATIO if size is None else size
    return checked(decoding(reading, stored, limit, workers, exact=size is not None))


def decoded_whole(stored: bytes, size: int, span: Span | None) -> Buffer:
    try:
        body = decode_small(stored, size)
    except DecodeError as error:
        raise Damaged(UNDECODABLE) from error
    return body if span is None else memoryview(body)[slice(*span)]


async def decoded_range(
    reading: Reading, span: Span, size: int, workers: Workers
) -> AsyncGenerator[bytes, None]:
    """Decode what holds `span`: some frames where we wrote a table, else from the start."""
    table = None if reading.record.attributes.by_client else await seek_table(reading)
    if table is None or table.original_size != size:
        everything = decoding(reading, Span(0, reading.record.size), size, workers, exact=True)
        return trimmed(everything, span.start, span.size)
    frames = table.locate(span)
    return trimmed(
        decoding(reading, frames.stored, frames.decoded, workers, exact=True),
        frames.skip,
        frames.take,
    )


async def seek_table(reading: Reading) -> SeekTable | None:
    size = reading.record.size
    tail = await read_all(reading, Span(max(0, size - FOOTER_SIZE), size))
    span = table_span(size, tail)
    return None if span is None else SeekTable.parse(size, await read_all(reading, span))


async def read_all(reading: Reading, span: Span) -> bytes:
    return b"".join([bytes(piece) async for piece in reading.chunks(span)])


def decoding(
    reading: Reading, stored: Span, limit: int, workers: Workers, *, exact: bool
) -> Decoding:
    return Decoding(copied(reading.chunks(stored)), limit, workers, exact=exact)


async def copied(pieces: AsyncGenerator[Buffer, None]) -> AsyncGenerator[bytes, None]:
    """Pieces that stay good when the next one comes."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield bytes(piece)


async def checked(decoded: Stream | AsyncGenerator[bytes, None]) -> AsyncGenerator[Buffer, None]:
    """What was decoded; raises Damaged where it is not what was stored."""
    try:
        async with aclosing(decoded):
            async for piece in decoded:
                yield piece
    except DecodeError as error:
        raise Damaged(UNDECODABLE) from error
