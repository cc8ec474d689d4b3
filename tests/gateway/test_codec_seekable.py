import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.codec.compressing import compress_small
from pannier_gateway.codec.seekable import FOOTER_SIZE, SeekTable, table_span, write_table
from pannier_gateway.span import Span
from support import zstd_bodies

FRAME = 100
BODIES = st.binary(min_size=1, max_size=1000)
ENTRIES = st.lists(st.tuples(st.integers(1, 99), st.integers(0, 99)), min_size=1, max_size=20)


def seekable(body: bytes, frame_size: int = FRAME) -> bytes:
    frames = [compress_small(part, 3) for part in zstd_bodies.chunks(body, frame_size)]
    table = write_table(array("I", map(len, frames)), frame_size, len(body))
    return b"".join([*frames, *table])


def table_of(stored: bytes) -> SeekTable | None:
    span = table_span(len(stored), stored[-FOOTER_SIZE:])
    return SeekTable.parse(len(stored), stored[slice(*span)]) if span else None


def foreign(entries: list[tuple[int, int]], *, descriptor: int = 0, checksum: bytes = b"") -> bytes:
    """Frames of zeros and a table, as another writer may have made it."""
    table = b"".join(struct.pack("<II", *entry) + checksum for entry in entries)
    footer = struct.pack("<IBI", len(entries), descriptor, 0x8F92EAB1)
    return bytes(sum(stored for stored, _ in entries)) + zstd_bodies.skippable(table + footer, 14)


@given(BODIES, st.data())
def test_located_frames_hold_what_was_asked_for(body: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body) - 1))
    stop = data.draw(st.integers(start + 1, len(body)))
    stored = seekable(body)
    table = table_of(stored)

    assert table is not None
    assert table.original_size == len(body)
    found = table.locate(Span(start, stop))
    part = zstd_bodies.decoded(stored[slice(*found.stored)])
    assert part[found.skip : found.skip + found.take] == body[start:stop]
    assert len(part) == found.decoded < stop - start + 2 * FRAME


@given(BODIES)
def test_a_body_with_a_table_is_plain_zstd_to_others(body: bytes) -> None:
    assert zstd_bodies.decoded(seekable(body)) == body


@given(ENTRIES, st.booleans())
def test_tables_of_other_writers_are_read(entries: list[tuple[int, int]], checksums: bool) -> None:
    descriptor, checksum = (0x80, b"\1\2\3\4") if checksums else (0, b"")

    table = table_of(foreign(entries, descriptor=descriptor, checksum=checksum))

    assert table is not None
    assert table.original_size == sum(decoded for _, decoded in entries)


def test_frames_that_decode_to_nothing_are_passed_over() -> None:
    table = table_of(foreign([(7, 0), (10, 5), (9, 0), (11, 5), (8, 0)]))

    assert table is not None
    assert table.locate(Span(0, 10)) == (Span(7, 37), 10, 0, 10)
    assert table.locate(Span(4, 5)) == (Span(7, 17), 5, 4, 1)
    assert table.locate(Span(5, 6)) == (Span(26, 37), 5, 0, 1)


@pytest.mark.parametrize("wanted", [Span(0, 11), Span(10, 11), Span(3, 3), Span(-1, 2)])
def test_bytes_beyond_the_body_are_not_located(wanted: Span) -> None:
    table = table_of(foreign([(7, 10)]))
    assert table is not None

    with pytest.raises(ValueError, match="10 decoded bytes"):
        table.locate(wanted)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"short",
        bytes(100),
        compress_small(b"a body in one frame", 3),
        foreign([]),
        foreign([(7, 10)])[1:],  # one byte less than the table's sum
        b"\0" + foreign([(7, 10)]),
        foreign([(7, 10), (0, 10)]),
        foreign([(7, 10)], descriptor=0x04),  # a reserved bit
        foreign([(7, 10)], descriptor=0x80),  # checksums that are not there
        foreign([(7, 10)]).replace(b"\x5e\x2a\x4d\x18", b"\x50\x2a\x4d\x18"),
        bytes(7) + struct.pack("<IBI", 2**32 - 1, 0, 0x8F92EAB1),
    ],
)
def test_a_table_that_does_not_fit_its_object_is_none(stored: bytes) -> None:
    assert table_of(stored) is None


def test_a_table_of_absurd_size_is_not_worth_reading() -> None:
    footer = struct.pack("<IBI", 2**32 - 1, 0, 0x8F92EAB1)

    assert table_span(2**50, footer) is None


@given(st.binary(max_size=60), ENTRIES, st.data())
def test_damaged_tables_never_crash(
    junk: bytes, entries: list[tuple[int, int]], data: st.DataObject
) -> None:
    stored = bytearray(foreign(entries))
    at = data.draw(st.integers(0, len(stored)))
    stored[at : at + data.draw(st.integers(0, 40))] = junk

    table = table_of(bytes(stored))

    if table is not None and table.original_size:
        found = table.locate(Span(0, table.original_size))
        assert 0 <= found.stored.start < found.stored.stop <= len(stored)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_a_table_or_none(table: bytes, size: int) -> None:
    assert isinstance(SeekTable.parse(size, table), SeekTable | None)


def test_the_table_of_a_huge_object_comes_in_small_pieces() -> None:
    sizes = array("I", [80_000]) * 100_000

    pieces = list(write_table(sizes, 400_000, 100_000 * 400_000 - 1))

    assert max(map(len, pieces)) <= 64 << 10
    table = SeekTable.parse(8_000_000_000 + sum(map(len, pieces)), b"".join(pieces))
    assert table is not None
    assert table.original_size == 40_000_000_000 - 1
    assert repr(table) == "<SeekTable 100000 frames, 39999999999 bytes decoded>"
