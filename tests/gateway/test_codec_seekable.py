import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.codec.compressing import compress_small
from pannier_gateway.codec.seekable import (
    FOOTER_SIZE,
    SeekTable,
    SeekTables,
    table_span,
    write_table,
)
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


def foreign(entries: list[tuple[int, int]], *, descriptor: int = 0) -> bytes:
    """Frames of zeros and a table, as another writer may have made it."""
    table = b"".join(struct.pack("<II", *entry) for entry in entries)
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


def test_a_frame_is_found_among_thousands() -> None:
    sizes = array("I", range(1, 5001))
    table = SeekTable(sizes, FRAME, 5000 * FRAME)

    for frame in (0, 1, 255, 256, 257, 4999):
        begin = frame * (frame + 1) // 2  # of 1 + 2 + 3 + …
        assert table.locate(Span(frame * FRAME, frame * FRAME + 1)) == (
            Span(begin, begin + frame + 1),
            FRAME,
            0,
            1,
        )


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
        foreign([(7, 10), (7, 9), (7, 10)]),  # frames of several sizes
        foreign([(7, 10), (7, 11)]),
        foreign([(7, 10), (7, 0)]),
        foreign([(7, 0)]),
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

    if table is not None:
        found = table.locate(Span(0, table.original_size))
        assert 0 <= found.stored.start <= found.stored.stop <= len(stored)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_no_table_or_that_of_an_object_of_this_size(table: bytes, size: int) -> None:
    found = SeekTable.parse(size, table)

    assert found is None or found.stored_size + len(table) == size


@given(st.integers(1, 20), st.integers(0, 300))
def test_a_table_fits_an_object_of_one_size_alone(frames: int, size: int) -> None:
    stored = foreign([(3, 5)] * frames)
    table = stored[3 * frames :]

    assert SeekTable.parse(len(stored), table) is not None
    assert size == len(stored) or SeekTable.parse(size, table) is None


def test_the_table_of_a_huge_object_comes_in_small_pieces() -> None:
    sizes = array("I", [80_000]) * 100_000

    pieces = list(write_table(sizes, 400_000, 100_000 * 400_000 - 1))

    assert max(map(len, pieces)) <= 64 << 10
    table = SeekTable.parse(8_000_000_000 + sum(map(len, pieces)), b"".join(pieces))
    assert table is not None
    assert table.original_size == 40_000_000_000 - 1
    assert repr(table) == "<SeekTable 100000 frames, 39999999999 bytes decoded>"


# Tables kept


def keep(tables: SeekTables, path: str, frames: int, etag: str = "e1") -> SeekTable:
    table = SeekTable(array("I", [7] * frames), FRAME, frames * FRAME)
    tables.keep(path, etag, table)
    return table


def test_a_table_that_is_used_stays_and_others_go() -> None:
    tables = SeekTables(most=10_000)
    used = keep(tables, "used", 400)
    keep(tables, "unused", 400)

    assert tables.get("used") is used
    keep(tables, "new", 400)

    assert tables.get("used") is used
    assert tables.get("unused") is None
    assert repr(tables) == "<SeekTables 2, 7296/10000 bytes>"


def test_a_table_kept_again_counts_once() -> None:
    tables = SeekTables(most=10_000)
    keep(tables, "a", 400)
    other = keep(tables, "a", 500, "e2")

    assert tables.get("a") is tables.get("a", "e2") is other
    assert tables.get("a", "e1") is None
    assert tables.memory == other.memory


def test_even_small_tables_are_not_kept_without_end() -> None:
    tables = SeekTables(most=10_000)
    for number in range(100):
        keep(tables, str(number), 1)

    assert tables.get("0") is None
    assert tables.memory < 10_000


def test_a_table_larger_than_all_room_is_not_kept() -> None:
    tables = SeekTables(most=10_000)
    keep(tables, "large", 10_000)

    assert (tables.get("large"), tables.memory) == (None, 0)
