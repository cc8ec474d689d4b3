"""Stored zstd bytes, decoded as they are read: in bounded pieces, whatever they decode to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

import zstandard

from pannier_gateway.codec.budget import ORDINARY
from pannier_gateway.codec.contexts import decompress
from pannier_gateway.codec.errors import DecodedTooLarge, DecodeError, NotZstd
from pannier_gateway.codec.frames import BLOCK_MAX, PIECE_MAX, WINDOW_MAX, Piece, Splitter
from pannier_gateway.codec.streams import Stream
from pannier_gateway.codec.workers import Workers

STEP = 64 << 10  # stored bytes looked at in one go
READING = 768 << 10  # bytes a reader holds: a piece of the store's, a frame and what it decodes to


class Decoder:
    """Decodes a stream's pieces in their order, on any thread, one call at a time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0  # bytes decoded so far
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def decode(self, pieces: list[Piece]) -> bytes:
        """What `pieces`, as a Splitter gives them out together, decode to. Raises DecodeError."""
        try:
            decoded = b"".join([self._decode(piece) for piece in pieces])
        except zstandard.ZstdError as error:
            raise NotZstd(f"the body is damaged zstd: {error}") from error
        self.size += len(decoded)
        if self.size > self.limit:
            raise DecodedTooLarge(self.limit)
        return decoded

    def _decode(self, piece: Piece) -> bytes:
        if not piece.decodable:
            raise DecodeError(
                f"a zstd frame needs a window of {piece.frame.window} bytes: more than "
                f"{WINDOW_MAX} are not decoded here, only sent as they are (accept-encoding: zstd)"
            )
        if piece.whole:
            return decompress(piece.data, piece.bound) if piece.bound else b""
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        decoded = frame.decompress(piece.data)
        if frame.eof is not piece.last:
            raise NotZstd("a zstd frame does not end with its last block")
        self._frame = None if piece.last else frame
        return decoded


class Decoding(Stream):
    """What stored zstd bytes decode to, in pieces of at most 576 KiB.

    Raises DecodeError where the bytes are damaged or end early, before the first byte beyond
    `limit`, and, if `exact`, for fewer. Takes READING bytes of the budget, and those of windows:
    of frames that are `foreign` an ordinary one before anything is read, for who waits holds none.
    """

    def __init__(
        self,
        stored: AsyncGenerator[bytes | memoryview, None],
        limit: int,
        workers: Workers,
        *,
        exact: bool = False,
        foreign: bool = False,
    ) -> None:
        super().__init__(self._decode(stored))
        self._stored = stored
        self._limit = limit
        self._exact = exact
        self._room = ORDINARY if foreign else READING
        self._workers = workers

    async def aclose(self) -> None:
        """And what is read from, which may hold a connection."""
        await super().aclose()
        await self._stored.aclose()

    async def _decode(
        self, stored: AsyncIterator[bytes | memoryview]
    ) -> AsyncGenerator[bytes, None]:
        loop, executor = asyncio.get_running_loop(), self._workers.executor
        splitter, decoder = Splitter(), Decoder(self._limit)
        with self._workers.budget.lease() as room:
            await room.hold(self._room)
            async for chunk in stored:
                for pieces in cut(chunk, splitter):
                    memory = READING + pieces[0].memory
                    await room.hold(memory)
                    if not decoder.size:
                        room.shrink(memory)
                    decoded = await loop.run_in_executor(executor, decoder.decode, pieces)
                    pieces.clear()
                    if decoded:
                        yield decoded
                    del decoded
        splitter.finish()
        if self._exact:
            _check_size(decoder)


def cut(chunk: bytes | memoryview, splitter: Splitter) -> Iterator[list[Piece]]:
    """What `splitter` makes of `chunk`, fed in steps: the rest is not there twice."""
    for start in range(0, len(chunk), STEP):
        splitter.feed(memoryview(chunk)[start : start + STEP])
        yield from splitter.pieces()


async def trimmed(decoded: Stream, skip: int, take: int) -> AsyncGenerator[bytes, None]:
    """`take` bytes of `decoded` after the first `skip`; closes it as soon as they are there.

    Raises DecodeError if it ends before.
    """
    async with aclosing(decoded):
        async for piece in decoded:
            part = piece[skip : skip + take]
            skip -= min(skip, len(piece))
            take -= len(part)
            del piece
            if part:
                yield part
            del part
            if not take:
                return
    raise DecodeError(f"the body ends {skip + take} decoded bytes early")


def decode_frame(data: bytes, limit: int) -> bytes | None:
    """The short way for nearly all small bodies: one frame that decodes to little, 512 KiB if it
    says so and else 128. None for anything else, and for more than `limit` bytes."""
    try:
        content = zstandard.frame_content_size(data)  # -1: not said
        if content == 0 or content > min(limit, PIECE_MAX):
            return None
        if content < 0 and zstandard.get_frame_parameters(data).window_size > WINDOW_MAX:
            return None
        decoded = decompress(data, BLOCK_MAX)
    except zstandard.ZstdError:
        return None  # the long way says what is wrong
    return decoded if len(decoded) <= limit else None


def _check_size(decoder: Decoder) -> None:
    if decoder.size != decoder.limit:
        raise DecodeError(f"the body decodes to {decoder.size} bytes in place of {decoder.limit}")
