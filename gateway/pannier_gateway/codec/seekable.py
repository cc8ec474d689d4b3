"""Where each frame of a zstd stream lies: the seek table of the published zstd seekable format.

It is a skippable frame at the end, which every zstd tool passes over. Numbers are little-endian
(contrib/seekable_format/zstd_seekable_compression_format.md in the sources of zstd):

    u32 0x184D2A5E, u32 size of the rest
    for each frame: u32 stored size, u32 decoded size, u32 checksum if the descriptor's bit 7 is set
    u32 number of frames, u8 descriptor, u32 0x8F92EAB1

Only tables as `write_table` makes them are read: no checksums, and all frames but the last decode
to the same size. Rely on those of bodies that the gateway itself has framed: a client may store a
table of its own, and one that passes the checks here can still be wrong about where frames begin.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from pannier_gateway.span import Span

_HEADER = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")
FOOTER_SIZE = _FOOTER.size
_FRAME_MAGIC, _TABLE_MAGIC = 0x184D2A5E, 0x8F92EAB1
_ENTRY_SIZE = 8
_TABLE_MAX = 128 << 20  # 5 TiB in frames of 384 KiB need 112 MiB
_PIECE = 8192  # entries written at once
_STRIDE = 256  # entries added up for one lookup, at most: some microseconds
_KEPT_BYTES = 16 << 20  # of tables: for 1.5 TiB of large objects, or for 8,000 small ones
_OVERHEAD = 2048  # bytes about a table: what it is known by, and its parts


class Location(NamedTuple):
    """Where decoded bytes are: the frames `stored` decode to `decoded` bytes, of which `take`
    after the first `skip` are meant."""

    stored: Span
    decoded: int
    skip: int
    take: int


class SeekTable:
    """Where frames begin, in 4 bytes for each: the sizes they are stored in, and sums of them."""

    def __init__(self, sizes: array[int], frame_size: int, original_size: int) -> None:
        self.original_size = original_size  # bytes the object decodes to
        self._frame_size = frame_size  # bytes each frame decodes to, but for the last
        self._sizes = sizes
        strides = (sum(sizes[at : at + _STRIDE]) for at in range(0, len(sizes), _STRIDE))
        self._starts = array("Q", accumulate(strides, initial=0))

    @classmethod
    def parse(cls, stored_size: int, table: bytes) -> SeekTable | None:
        """The table found at `table_span` of an object; None if it does not fit that object.

        Takes some 10 ms for 100 GiB.
        """
        span = table_span(stored_size, table)
        if span is None or span.size != len(table):
            return None
        if _HEADER.unpack_from(table) != (_FRAME_MAGIC, len(table) - _HEADER.size):
            return None
        entries = _integers(table[_HEADER.size : -FOOTER_SIZE])
        stored, decoded = entries[::2], entries[1::2]
        frame_size, last = decoded[0], decoded.pop()
        if decoded != decoded[:1] * len(decoded) or not 0 < last <= frame_size:
            return None
        parsed = cls(stored, frame_size, len(decoded) * frame_size + last)
        return parsed if parsed.stored_size == span.start else None

    @property
    def memory(self) -> int:
        """Bytes that it takes to keep, about."""
        return _OVERHEAD + len(self._sizes) * self._sizes.itemsize

    @property
    def stored_size(self) -> int:
        """Bytes that the frames are stored in."""
        return self._starts[-1]

    def locate(self, wanted: Span) -> Location:
        """The fewest frames that hold the decoded bytes `wanted`. Raises ValueError beyond them."""
        if not 0 <= wanted.start < wanted.stop <= self.original_size:
            raise ValueError(f"{wanted} is not within {self.original_size} decoded bytes")
        first, stop = wanted.start // self._frame_size, -(-wanted.stop // self._frame_size)
        start = first * self._frame_size
        return Location(
            stored=Span(self._begin(first), self._begin(stop)),
            decoded=min(stop * self._frame_size, self.original_size) - start,
            skip=wanted.start - start,
            take=wanted.size,
        )

    def _begin(self, frame: int) -> int:
        stride = frame // _STRIDE
        return self._starts[stride] + sum(self._sizes[stride * _STRIDE : frame])

    def __repr__(self) -> str:
        return f"<SeekTable {len(self._sizes)} frames, {self.original_size} bytes decoded>"


class Version(NamedTuple):
    """The table of one version of an object."""

    etag: str
    table: SeekTable


class SeekTables:
    """The tables last used, so that many ranges of one object read its table once."""

    def __init__(self, most: int = _KEPT_BYTES) -> None:
        self.memory = 0  # bytes
        self._most = most
        self._versions: OrderedDict[str, Version] = OrderedDict()

    def get(self, path: str, etag: str | None = None) -> SeekTable | None:
        """The table of that version of an object; None: of the one kept last."""
        kept = self._versions.get(path)
        if kept is None or etag not in (None, kept.etag):
            return None
        self._versions.move_to_end(path)
        return kept.table

    def keep(self, path: str, etag: str, table: SeekTable) -> None:
        """Remember `table`, and forget as many of those not used for longest as it takes."""
        self._forget(path)
        self._versions[path] = Version(etag, table)
        self.memory += table.memory
        while self.memory > self._most:
            self._forget(next(iter(self._versions)))

    def _forget(self, path: str) -> None:
        if forgotten := self._versions.pop(path, None):
            self.memory -= forgotten.table.memory

    def __repr__(self) -> str:
        return f"<SeekTables {len(self._versions)}, {self.memory}/{self._most} bytes>"


def table_span(stored_size: int, tail: bytes) -> Span | None:
    """Where the seek table of an object lies, told by its last FOOTER_SIZE bytes or more.

    None if it has none, or one larger than 128 MiB.
    """
    if len(tail) < FOOTER_SIZE:
        return None
    count, descriptor, magic = _FOOTER.unpack(tail[-FOOTER_SIZE:])
    if magic != _TABLE_MAGIC or descriptor or not count:
        return None
    size = _HEADER.size + count * _ENTRY_SIZE + FOOTER_SIZE
    return Span(stored_size - size, stored_size) if size < min(stored_size, _TABLE_MAX) else None


def write_table(stored: array[int], frame_size: int, original_size: int) -> Iterator[bytes]:
    """The seek table, in pieces, of frames of the `stored` sizes that decode to `frame_size` bytes
    each, and the last one to the rest of `original_size`."""
    yield _HEADER.pack(_FRAME_MAGIC, len(stored) * _ENTRY_SIZE + FOOTER_SIZE)
    for at in range(0, len(stored), _PIECE):
        sizes = stored[at : at + _PIECE]
        yield b"".join(
            _HEADER.pack(size, min(frame_size, original_size - (at + n) * frame_size))
            for n, size in enumerate(sizes)
        )
    yield _FOOTER.pack(len(stored), 0, _TABLE_MAGIC)


def _integers(data: bytes) -> array[int]:
    integers = array("I", data)
    if sys.byteorder == "big":
        integers.byteswap()
    return integers
