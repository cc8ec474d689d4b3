"""CRC64NVME over stored bytes, whole and block by block: it tells rotten bytes from good ones."""

import sys
from array import array
from collections.abc import Iterator
from itertools import pairwise

from awscrt.checksums import crc64nvme

from pannier_gateway.stores.base import Buffer

BLOCK = 256 * 1024

whole_checksum = crc64nvme


class BlockChecksums:
    """Checksums of a body that arrives in pieces of any size.

    Those of its blocks begin from the body's number: a block of another body is not taken for one.
    """

    def __init__(self, body: int) -> None:
        self.whole = 0
        self.size = 0
        self._blocks = array("Q")
        self._body = body
        self._open = body

    def add(self, piece: Buffer) -> None:
        """Take in the next bytes of the body."""
        self.whole = crc64nvme(piece, self.whole)
        for part in split_at_blocks(piece, self.size):
            self._open = crc64nvme(part, self._open)
            self.size += len(part)
            if self.size % BLOCK == 0:
                self._close_block()

    def table(self) -> bytes:
        """Eight little-endian bytes a block, the last block being as long as what remains."""
        if self.size % BLOCK:
            self._close_block()
        return little_endian(self._blocks).tobytes()

    def _close_block(self) -> None:
        self._blocks.append(self._open)
        self._open = self._body


def split_at_blocks(piece: Buffer, offset: int) -> Iterator[memoryview]:
    """Cut a piece that begins at `offset` of its body where blocks end."""
    view = memoryview(piece)
    first = BLOCK - offset % BLOCK
    cuts = [0, *range(first, len(view), BLOCK), len(view)] if view else []
    return (view[start:stop] for start, stop in pairwise(cuts))


def matches(body: int, block: Buffer, entry: Buffer) -> bool:
    """Whether a block is the one of that body that the entry of its table was made of."""
    return bool(crc64nvme(block, body) == int.from_bytes(entry, "little"))


def little_endian(numbers: "array[int]") -> "array[int]":
    """The same numbers, laid out as the table keeps them, whatever the machine."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
