"""Where each frame of a zstd stream lies: the seek table of the published zstd seekable format.

It is a skippable frame at the end, which every zstd tool passes over. Numbers are little-endian
(contrib/seekable_format/zstd_seekable_compression_format.md in the sources of zstd):

    u32 0x184D2A5E, u32 size of the rest
    for each frame: u32 stored size, u32 decoded size, u32 checksum if the descriptor's bit 7 is set
    u32 number of frames, u8 descriptor, u32 0x8F92EAB1

A client may store a table of its own, and a table that passes the checks here can still be wrong
about where a frame begins: rely on those of bodies that the gateway itself has framed.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from pannier_gateway.span import Span

_HEADER = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")
FOOTER_SIZE = _FOOTER.size
_FRAME_MAGIC, _TABLE_MAGIC = 0x184D2A5E, 0x8F92EAB1
_CHECKSUMS, _RESERVED = 0x80, 0x7C
_TABLE_MAX = 128 << 20  # 5 TiB in frames of 384 KiB need 112 MiB
_PIECE = 8192  # entries written at once


class Location(NamedTuple):
    """Where decoded bytes are: the frames `stored` decode to `decoded` bytes, of which `take`
    after the first `skip` are meant."""

    stored: Span
    decoded: int
    skip: int
    take: int


class SeekTable:
    """The offsets of all frames, 16 bytes each."""

    def __init__(self, stored: array[int], decoded: array[int]) -> None:
        self._stored = stored
        self._decoded = decoded

    @classmethod
    def parse(cls, stored_size: int, table: bytes) -> SeekTable | None:
        """The table found at `table_span` of an object; None if it does not fit that object."""
        span = table_span(stored_size, table)
        if span is None or span.size != len(table):
            return None
        if _HEADER.unpack_from(table) != (_FRAME_MAGIC, len(table) - _HEADER.size):
            return None
        entries = _integers(table[_HEADER.size : -FOOTER_SIZE])
        fields = _fields(table[-5])
        stored, decoded = _offsets(entries[::fields]), _offsets(entries[1::fields])
        if stored[-1] != span.start or not all(entries[::fields]):
            return None
        return cls(stored, decoded)

    @property
    def original_size(self) -> int:
        """Bytes the object decodes to."""
        return self._decoded[-1]

    def locate(self, wanted: Span) -> Location:
        """The fewest frames that hold the decoded bytes `wanted`. Raises ValueError beyond them."""
        if not 0 <= wanted.start < wanted.stop <= self.original_size:
            raise ValueError(f"{wanted} is not within {self.original_size} decoded bytes")
        first = bisect_right(self._decoded, wanted.start) - 1
        stop = bisect_left(self._decoded, wanted.stop)
        return Location(
            stored=Span(self._stored[first], self._stored[stop]),
            decoded=self._decoded[stop] - self._decoded[first],
            skip=wanted.start - self._decoded[first],
            take=wanted.size,
        )

    def __repr__(self) -> str:
        return f"<SeekTable {len(self._stored) - 1} frames, {self.original_size} bytes decoded>"


def table_span(stored_size: int, tail: bytes) -> Span | None:
    """Where the seek table of an object lies, told by its last FOOTER_SIZE bytes or more.

    None if it has none, or one larger than 128 MiB.
    """
    if len(tail) < FOOTER_SIZE:
        return None
    count, descriptor, magic = _FOOTER.unpack(tail[-FOOTER_SIZE:])
    if magic != _TABLE_MAGIC or descriptor & _RESERVED or not count:
        return None
    size = _HEADER.size + count * _fields(descriptor) * 4 + FOOTER_SIZE
    return Span(stored_size - size, stored_size) if size < min(stored_size, _TABLE_MAX) else None


def write_table(stored: array[int], frame_size: int, original_size: int) -> Iterator[bytes]:
    """The seek table, in pieces, of frames of the `stored` sizes that decode to `frame_size` bytes
    each, and the last one to the rest of `original_size`."""
    yield _HEADER.pack(_FRAME_MAGIC, len(stored) * 8 + FOOTER_SIZE)
    for at in range(0, len(stored), _PIECE):
        sizes = stored[at : at + _PIECE]
        yield b"".join(
            _HEADER.pack(size, min(frame_size, original_size - (at + n) * frame_size))
            for n, size in enumerate(sizes)
        )
    yield _FOOTER.pack(len(stored), 0, _TABLE_MAGIC)


def _fields(descriptor: int) -> int:
    return 3 if descriptor & _CHECKSUMS else 2


def _integers(data: bytes) -> array[int]:
    integers = array("I", data)
    if sys.byteorder == "big":
        integers.byteswap()
    return integers


def _offsets(sizes: array[int]) -> array[int]:
    return array("Q", accumulate(sizes, initial=0))
