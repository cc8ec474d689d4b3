"""zstd bodies for tests, friendly and hostile, and the ways they arrive."""

import random
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

import zstandard

MAGIC = struct.pack("<I", 0xFD2FB528)
LAST, RLE = 1, 1 << 1
BLOCK = 128 << 10


def text(size: int, seed: int = 0) -> bytes:
    """Prose of sorts: compresses about 3 : 1, and no two stretches of it are alike."""
    chance = random.Random(seed)
    words = [f"{chance.randrange(9**6):x}" for _ in range(2000)]
    return " ".join(chance.choices(words, k=size // 5 + 1)).encode()[:size]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def block(header: int, content: bytes) -> bytes:
    return struct.pack("<I", header)[:3] + content


def frame(*blocks: bytes, window_log: int = 20) -> bytes:
    """A frame of given blocks that does not say what it decodes to."""
    return MAGIC + bytes([0, (window_log - 10) << 3]) + b"".join(blocks)


def bomb(size: int, window_log: int = 20) -> bytes:
    """A frame of `size` zeros (a multiple of 128 KiB), in 4 bytes for each 128 KiB."""
    many = block(BLOCK << 3 | RLE, b"\0") * (size // BLOCK)
    return frame(many, block(LAST, b""), window_log=window_log)


def skippable(content: bytes, kind: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + kind, len(content)) + content


def streamed(data: bytes, level: int = 3) -> bytes:
    """One frame without a content size, as streaming writers make it."""
    writer = zstandard.ZstdCompressor(level=level).compressobj()
    return writer.compress(data) + writer.flush()


def decoded(stored: bytes) -> bytes:
    """What python-zstandard's own reader makes of a stream of frames."""
    with zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True) as reader:
        return reader.readall()


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def arriving(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


async def gathered(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])
