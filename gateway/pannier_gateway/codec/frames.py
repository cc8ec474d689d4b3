"""How a zstd stream is built (RFC 8878, section 3), and how to cut it into small steps of decoding.

A block of four stored bytes may decode to 128 KiB, so one chunk of a hostile body may decode to
gigabytes. Pieces end where blocks end, and are measured by what they can decode to at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import zstandard

from pannier_gateway.codec.errors import NotZstd

BLOCK_MAX = 128 << 10  # what one block decodes to at most
PIECE_MAX = 4 * BLOCK_MAX
WINDOW_MAX = 8 << 20  # what readers of zstd over HTTP have room for (RFC 9659)
_SMALL = 64 << 10  # whole frames up to this are handed out together
_DECODER_OVERHEAD = 2 * BLOCK_MAX + (160 << 10)  # block buffers and tables, beside the window
_MANY_BLOCKS = 256  # gone over in one go: some 100 µs
_MANY_FRAMES = 64  # some 600 µs
_RLE, _COMPRESSED, _RESERVED = 1, 2, 3
_FRAME_MAGIC = 0xFD2FB528
_SKIPPABLE_MAGIC = 0x184D2A50  # and the 15 numbers that follow it
_HEADER_MAX = 18


class Frame(NamedTuple):
    """A frame's header. `content`: the bytes it says it decodes to, None where it does not say."""

    header_size: int
    window: int
    content: int | None
    checksum: bool


class Piece(NamedTuple):
    """Blocks of one frame, decoding to `bound` bytes at most."""

    frame: Frame
    data: bytearray
    bound: int
    first: bool
    last: bool

    @property
    def whole(self) -> bool:
        """Whether this is an entire frame, to be decoded at once: that needs no window."""
        match self.frame.content:
            case None:
                sized = self.frame.window <= WINDOW_MAX
            case 0:  # which zstd would take at its word, whatever the blocks hold
                sized = self.bound == 0
            case _:
                sized = True
        return sized and self.first and self.last

    @property
    def decodable(self) -> bool:
        """Whether decoding it takes no larger a window than readers of zstd have room for."""
        return self.whole or self.frame.window <= WINDOW_MAX

    @property
    def memory(self) -> int:
        """Bytes a decoder holds while it is in this frame, beside input and output."""
        return 0 if self.whole else self.frame.window + _DECODER_OVERHEAD


_SKIPPED = Piece(Frame(8, 0, None, False), bytearray(), 0, first=True, last=True)


class _Block(NamedTuple):
    stop: int
    bound: int
    last: bool


@dataclass(slots=True)
class _Open:
    """The frame being cut: its next piece is complete up to `at`."""

    frame: Frame
    entire: bool  # to be cut as one piece
    at: int
    first: bool = True
    last: bool = False
    bound: int = 0
    blocks: int = 0

    def add(self, block: _Block) -> None:
        self.at, self.last = block.stop, block.last
        self.bound += block.bound
        self.blocks += 1

    @property
    def full(self) -> bool:
        ample = (
            self.at > PIECE_MAX + BLOCK_MAX if self.entire else self.bound + BLOCK_MAX > PIECE_MAX
        )
        return ample or self.blocks == _MANY_BLOCKS


class Splitter:
    """Cuts a zstd stream, fed in chunks of any size, into pieces; of skippable frames empty ones.

    Between chunks it holds one block, or one frame that decodes to PIECE_MAX at most.
    """

    def __init__(self) -> None:
        self._input = bytearray()
        self._skip = 0  # bytes of a skippable frame still to come
        self._open: _Open | None = None
        self._started = False

    def feed(self, chunk: bytes | memoryview) -> None:
        self._input += chunk

    def pieces(self) -> Iterator[list[Piece]]:
        """What was fed: single pieces, or several small whole frames. Raises NotZstd."""
        small: list[Piece] = []
        bound = 0
        while piece := self._take():
            alone = not piece.whole
            if small and alone:
                yield small
                small, bound = [], 0
            small.append(piece)
            bound += piece.bound
            del piece  # its reader may be done with it long before the next is asked for
            if alone or bound > _SMALL or len(small) == _MANY_FRAMES:
                yield small
                small, bound = [], 0
        if small:
            yield small

    @property
    def at_boundary(self) -> bool:
        """Whether what was fed ends where a frame does."""
        return not (self._open or self._skip or self._input)

    def finish(self) -> None:
        """Raises NotZstd unless the stream was whole."""
        if not self.at_boundary:
            raise NotZstd("the body ends inside a zstd frame")
        if not self._started:
            raise NotZstd("the body is empty: zstd data holds at least one frame")

    def _take(self) -> Piece | None:
        while self._open is None:
            if not self._open_frame():
                return None
            if self._skip:
                return _SKIPPED
        progress = self._walk(self._open)
        return self._cut(progress) if progress else None

    def _open_frame(self) -> bool:
        """Goes past a skippable frame, or up to a frame's blocks; False if input is missing."""
        dropped = min(self._skip, len(self._input))
        del self._input[:dropped]
        self._skip -= dropped
        if len(self._input) < 8:  # no frame is shorter
            return False
        self._started = True
        magic = int.from_bytes(self._input[:4], "little")
        if magic & ~0xF == _SKIPPABLE_MAGIC:
            self._skip = 8 + int.from_bytes(self._input[4:8], "little")
            return True
        if magic != _FRAME_MAGIC:
            raise NotZstd(f"bytes {bytes(self._input[:4]).hex(' ')} begin no zstd frame")
        if frame := _parse_header(bytes(self._input[:_HEADER_MAX])):
            entire = 0 < (frame.content or 0) <= PIECE_MAX
            self._open = _Open(frame, entire, at=frame.header_size)
        return self._open is not None

    def _walk(self, progress: _Open) -> _Open | None:
        """Goes over complete blocks until they make a piece; None if input is missing."""
        while block := self._block(progress):
            progress.add(block)
            if progress.last or (progress.full and not progress.entire):
                return progress
            if progress.full:  # its blocks are not what its header promised: cut it like any other
                self._open = progress = _Open(progress.frame, False, progress.frame.header_size)
        return None

    def _block(self, progress: _Open) -> _Block | None:
        at = progress.at + 3
        if at > len(self._input):
            return None
        header = int.from_bytes(self._input[progress.at : at], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        if kind == _RESERVED or size > BLOCK_MAX:
            raise NotZstd(f"no zstd block has the header {header:06x}")
        stop = at + (1 if kind == _RLE else size) + (4 if last and progress.frame.checksum else 0)
        if stop > len(self._input):
            return None
        return _Block(stop, BLOCK_MAX if kind == _COMPRESSED else size, last)

    def _cut(self, progress: _Open) -> Piece:
        data = self._input[: progress.at]
        del self._input[: progress.at]
        piece = Piece(progress.frame, data, progress.bound, progress.first, progress.last)
        self._open = None if progress.last else _Open(progress.frame, False, at=0, first=False)
        return _believed(piece) if piece.whole else piece


def _believed(piece: Piece) -> Piece:
    """An entire frame, bounded by what its header says, which its blocks must be able to hold."""
    content = piece.frame.content
    if content is None:
        return piece
    if content > piece.bound:
        raise NotZstd(f"a zstd frame claims {content} bytes and holds {piece.bound} at most")
    return piece._replace(bound=content)


def _parse_header(data: bytes) -> Frame | None:
    """The frame header at the start of `data`; None if `data` ends within it."""
    try:
        if len(data) < (size := zstandard.frame_header_size(data)):
            return None
        header = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise NotZstd(f"a zstd frame header is malformed: {error}") from error
    if header.dict_id:
        raise NotZstd(f"a zstd frame needs dictionary {header.dict_id}, which nobody can provide")
    known = header.content_size != zstandard.CONTENTSIZE_UNKNOWN
    content = header.content_size if known else None
    return Frame(size, header.window_size, content, header.has_checksum)
