from contextlib import suppress

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_gateway.codec.errors import NotZstd
from pannier_gateway.codec.frames import PIECE_MAX, WINDOW_MAX, Piece, Splitter
from support import zstd_bodies
from support.zstd_bodies import BLOCK, LAST, RLE, block, frame, skippable

TEXT = zstd_bodies.text(1 << 20)
WHOLE = zstandard.ZstdCompressor().compress(TEXT[:400_000])
LARGE = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
UNSIZED = zstd_bodies.streamed(TEXT)


def split(*fed: bytes) -> list[list[Piece]]:
    splitter = Splitter()
    groups: list[list[Piece]] = []
    for chunk in fed:
        splitter.feed(chunk)
        groups += splitter.pieces()
    splitter.finish()
    return groups


def pieces(*fed: bytes) -> list[Piece]:
    return [piece for group in split(*fed) for piece in group]


def frame_of_nothing(*blocks: bytes) -> bytes:
    """A frame that says that it decodes to nothing."""
    return zstd_bodies.MAGIC + bytes([0x20, 0]) + b"".join(blocks)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=20), st.integers(300, 100_000))
def test_pieces_do_not_depend_on_how_a_stream_arrives(cuts: list[int], size: int) -> None:
    stream = b"".join([skippable(b"note"), WHOLE, LARGE, skippable(bytes(5000)), UNSIZED])
    uneven = [stream[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True)]

    assert pieces(*zstd_bodies.chunks(stream, size)) == pieces(stream) == pieces(*uneven)


@pytest.mark.parametrize("stream", [WHOLE, LARGE, UNSIZED, zstd_bodies.bomb(10 * BLOCK)])
def test_no_piece_decodes_to_much(stream: bytes) -> None:
    cut = pieces(stream)

    assert b"".join(piece.data for piece in cut) == stream
    assert all(piece.bound <= PIECE_MAX for piece in cut)
    assert [piece.first for piece in cut] == [True] + [False] * (len(cut) - 1)
    assert [piece.last for piece in cut] == [False] * (len(cut) - 1) + [True]


def test_a_frame_that_decodes_to_little_is_one_piece_and_needs_no_window() -> None:
    (piece,) = pieces(WHOLE)

    assert piece.whole
    assert (piece.bound, piece.memory) == (400_000, 0)


def test_a_large_frame_needs_its_window() -> None:
    window = zstandard.get_frame_parameters(UNSIZED).window_size

    assert all(not piece.whole and piece.memory > window for piece in pieces(UNSIZED))


def test_small_frames_come_together_and_others_alone() -> None:
    groups = split(WHOLE + zstd_bodies.streamed(b"tiny") * 150 + UNSIZED)

    assert [len(group) for group in groups[:4]] == [1, 64, 64, 22]
    assert {len(group) for group in groups[4:]} == {1}


def test_frames_of_nothing_come_together_if_that_is_what_they_hold() -> None:
    empty, liar = zstandard.compress(b""), frame_of_nothing(block(LAST | 1 << 3, b"x"))

    assert [len(group) for group in split(empty * 100)] == [64, 36]
    assert [len(group) for group in split(empty + liar + empty)] == [1, 1, 1]
    assert [piece.whole for piece in pieces(empty + liar)] == [True, False]


def test_a_frame_of_countless_blocks_is_cut_whatever_its_header_says() -> None:
    grains = [block(1 << 3, b"x")] * 5000
    sized = zstd_bodies.MAGIC + bytes([0x80, 10 << 3]) + (5000).to_bytes(4, "little")

    cut = pieces(sized + b"".join(grains) + block(LAST, b""))

    assert sum(piece.bound for piece in cut) == 5000
    assert max(piece.bound for piece in cut) == 256


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"", "empty"),
        (b"hi", "ends inside"),
        (b"hello, world", "68 65 6c 6c begin no zstd frame"),
        (WHOLE + b"trailing bytes", "begin no zstd frame"),
        (WHOLE + b"\0", "ends inside"),
        (skippable(b"cut short")[:-1], "ends inside"),
        (frame(block(3 << 1, b"")), "no zstd block"),
        (frame(block((BLOCK + 1) << 3, b"")), "no zstd block"),
        (zstd_bodies.MAGIC + b"\x08" + bytes(20), "header is malformed"),
        (zstd_bodies.MAGIC + b"\0\xff" + bytes(20), "header is malformed"),
        (zstd_bodies.MAGIC + b"\x01\x00\x07" + block(LAST, b"") + bytes(9), "dictionary 7"),
        (zstd_bodies.MAGIC + b"\xa0" + b"\xff" * 3 + b"\0" + block(LAST, b""), "claims 16777215"),
    ],
)
def test_what_is_no_zstd_is_refused(stream: bytes, why: str) -> None:
    with pytest.raises(NotZstd, match=why):
        split(stream)


def test_the_largest_window_that_is_decoded_is_8_mib() -> None:
    within, beyond = (zstd_bodies.bomb(10 * BLOCK, window_log=log) for log in (23, 24))

    assert all(piece.decodable for piece in pieces(within))
    assert not any(piece.decodable for piece in pieces(beyond))
    assert pieces(within)[0].frame.window == WINDOW_MAX


@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda end: frame() + end))
def test_any_bytes_are_zstd_or_refused(stream: bytes) -> None:
    with suppress(NotZstd):
        assert sum(len(piece.data) for piece in pieces(stream)) <= len(stream)


def test_rle_blocks_count_for_what_they_decode_to() -> None:
    (piece,) = pieces(frame(block(1000 << 3 | RLE | LAST, b"x")))

    assert piece.bound == 1000
