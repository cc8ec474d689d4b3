"""The body of an upload between gateways, however it is cut into pieces, and what is refused."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway.errors import BadRequest
from pannier_gateway.sealed import AT_ONCE, HELD_BACK, Sealed
from pannier_gateway.stores import records, seals
from pannier_gateway.stores.base import Attributes, Draft, Page, Record
from support.stores import Held

DRAFT = Draft(5, 6, Attributes(custom={"a": "b"}))
RECORD = Record("p", 1, "e", 5, None, Attributes(filename="\u202e\n"))


class Incoming:
    """A body as a connection gives it."""

    def __init__(self, pieces: list[bytes], length: int | None = None) -> None:
        self.length = length
        self._pieces = pieces

    def take_at_hand(self, most: int) -> bytes | None:
        return None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(each % (len(data) + 1) for each in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


async def taken(sealed: Sealed) -> bytes:
    await sealed.begin()
    return await taken_on(sealed)


async def taken_on(sealed: Sealed) -> bytes:
    return b"".join([piece async for piece in sealed])


async def test_who_stops_sealing_closes_what_is_sealed() -> None:
    source = Held([b"one", b"two"])

    async with aclosing(seals.sealing(b"", source, lambda: DRAFT)) as pieces:
        await anext(pieces)
        assert await anext(pieces) == b"one"

    assert source.closed


@given(st.integers(0, 3 * HELD_BACK), st.lists(st.integers(0, 4 * HELD_BACK), max_size=12))
async def test_a_sealed_body_comes_out_as_it_went_in(size: int, cuts: list[int]) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sent = data + seals.sealed(DRAFT, crc64nvme(data))
    sizes: list[int] = []
    for length in (None, len(sent)):
        upload = Sealed(Incoming(cut(sent, cuts), length), lambda size, _: sizes.append(size))

        assert await taken(upload) == data
        assert upload.draft() == DRAFT
        assert sizes[-1] == len(data)
        assert (upload.whole is not None) == (length is not None and length <= AT_ONCE)


@given(st.integers(0, 3 * HELD_BACK), st.lists(st.integers(0, 4 * HELD_BACK), max_size=12))
async def test_an_opening_tells_what_the_seal_will_and_is_no_part_of_the_bytes(
    size: int, cuts: list[int]
) -> None:
    data, opening = bytes(size), seals.opening(DRAFT)
    sent = opening + data + seals.sealed(DRAFT, crc64nvme(data))
    upload = Sealed(Incoming(cut(sent, cuts)), lambda *_: None, len(opening))

    await upload.begin()
    assert upload.draft() == DRAFT
    assert await taken_on(upload) == data


async def test_a_long_body_without_an_opening_says_that_it_needs_one() -> None:
    upload = Sealed(Incoming([GOOD]), lambda *_: None)
    await upload.begin()

    with pytest.raises(BadRequest, match="x-pannier-opening"):
        upload.draft()


@pytest.mark.parametrize("sent", [b"", seals.opening(DRAFT)[:-1], b"\xff" * 99])
async def test_a_body_that_does_not_begin_as_it_says_is_refused(sent: bytes) -> None:
    upload = Sealed(Incoming([sent]), lambda *_: None, len(seals.opening(DRAFT)))

    with pytest.raises(BadRequest, match="does not begin"):
        await upload.begin()


GOOD = b"data" + seals.sealed(DRAFT, crc64nvme(b"data"))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0\0\0\0",
        b"data",
        b"\xff" * 40,
        GOOD[:-1],
        GOOD[1:],
        b"Data" + GOOD[4:],
        GOOD[:8] + b"!" + GOOD[9:],
        bytes(100_000) + (70_000).to_bytes(4, "big"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
async def test_a_body_without_a_good_seal_is_refused(sent: bytes, known: bool) -> None:
    upload = Sealed(Incoming([sent], len(sent) if known else None), lambda *_: None)

    with pytest.raises(BadRequest):
        await taken(upload)


async def test_a_body_that_ends_too_early_is_refused_whatever_it_ends_with() -> None:
    for length in (len(GOOD) + 1, AT_ONCE + 1):
        with pytest.raises(BadRequest, match="ended after"):
            await taken(Sealed(Incoming([GOOD], length), lambda *_: None))


def test_records_and_pages_come_back_as_they_were() -> None:
    page = Page((RECORD,), ("a/",), "n")

    assert records.read(records.written(RECORD)) == RECORD
    assert records.read_page(records.written_page(page)) == page


ODD = [
    replace(RECORD, created=-1),
    replace(RECORD, created=2**62),
    replace(RECORD, expires=2**62),
    replace(RECORD, size=-1),
    replace(RECORD, etag="e\n"),
    replace(RECORD, attributes=Attributes(after=-1)),
    replace(RECORD, attributes=Attributes(original_size=2**63)),
]


@pytest.mark.parametrize("record", ODD)
def test_a_record_that_no_store_has_is_not_taken_alone_or_in_a_page(record: Record) -> None:
    with pytest.raises(records.Unreadable):
        records.read(records.written(record))
    with pytest.raises(records.Unreadable):
        records.read_page(records.written_page(Page((record,))))


@pytest.mark.parametrize("text", ["", "1", "!!!", "AAAA", records.written(RECORD)[:-4]])
def test_what_is_no_record_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(records.Unreadable):
        records.read(text)
    with pytest.raises(records.Unreadable):
        records.read_page(text.encode())
