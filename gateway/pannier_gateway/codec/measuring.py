"""Bodies that claim to be zstd: checked, and measured, while they are stored as they are."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from pannier_gateway.codec.decoding import Decoder, decode_frame
from pannier_gateway.codec.frames import Splitter
from pannier_gateway.codec.streams import Stream
from pannier_gateway.codec.workers import Workers


class Measuring(Stream):
    """A body, passed on unchanged; at its end `original_size` says what it decodes to.

    That is None where decoding would have taken a window over 8 MiB (then `decodable` is False),
    or room that other decoders held: an upload never waits. The body is then checked for its
    structure only.

    Raises NotZstd, and DecodedTooLarge once it decodes to more than `ceiling` bytes.
    """

    def __init__(self, body: AsyncIterator[bytes], ceiling: int, workers: Workers) -> None:
        super().__init__(self._measure(body))
        self.original_size: int | None = None
        self.decodable = True
        self._ceiling = ceiling
        self._workers = workers

    async def _measure(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        loop, executor = asyncio.get_running_loop(), self._workers.executor
        splitter, decoder, counting = Splitter(), Decoder(self._ceiling), True
        with self._workers.budget.lease() as room:
            async for chunk in body:
                splitter.feed(chunk)
                for pieces in splitter.pieces():
                    first = pieces[0]
                    self.decodable = self.decodable and first.decodable
                    counting = counting and self.decodable and room.try_hold(first.memory)
                    if counting:
                        await loop.run_in_executor(executor, decoder.decode, pieces)
                    else:
                        await asyncio.sleep(0)
                yield chunk
        splitter.finish()
        self.original_size = decoder.size if counting else None


class Measured(NamedTuple):
    """What Measuring has found out."""

    original_size: int | None
    decodable: bool = True


async def measure_small(data: bytes, ceiling: int, workers: Workers) -> Measured:
    """What Measuring finds out of a small body: on this thread if it decodes to little."""
    at_once = decode_frame(data, ceiling)
    if at_once is not None:
        return Measured(len(at_once))
    splitter, decoder = Splitter(), Decoder(ceiling)
    splitter.feed(data)
    pieces = next(splitter.pieces(), [])
    if splitter.at_boundary and all(piece.whole for piece in pieces):
        decoder.decode(pieces)
        splitter.finish()
        return Measured(decoder.size)
    measuring = Measuring(_once(data), ceiling, workers)
    async for _ in measuring:
        pass
    return Measured(measuring.original_size, measuring.decodable)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data
