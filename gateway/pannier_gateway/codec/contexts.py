"""zstd's working memory, one set for each thread: it is costly to make and not thread-safe."""

import threading
from functools import cache

import zstandard


class _Contexts(threading.local):
    """What one thread has made so far."""

    def __init__(self) -> None:
        self.compressor = cache(_compressor)
        self.decompressor = zstandard.ZstdDecompressor()


def compress(data: bytes | bytearray, level: int) -> bytes:
    """One frame with its content size and a checksum, so that even part of an object is checked."""
    return _contexts.compressor(level).compress(data)


def decompress(frame: bytes | bytearray, size_max: int) -> bytes:
    """What one frame decodes to: as many bytes as it says, `size_max` at most if it says nothing.

    Raises ZstdError, also for anything after the frame.
    """
    decompressor = _contexts.decompressor
    return decompressor.decompress(frame, max_output_size=size_max, allow_extra_data=False)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=level, write_checksum=True)


_contexts = _Contexts()
