"""How often the store is asked while an object is read."""

import random
from array import array
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from pannier_gateway.codec import MemoryBudget
from pannier_gateway.codec.seekable import write_table
from pannier_gateway.codec.workers import Workers
from pannier_gateway.downloads import read_table
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Reading
from pannier_gateway.stores.remote import AT_ONCE, LAST
from pannier_gateway.stores.s3.bucket import S3Bucket
from support.engines import VERSITYGW, store_of
from support.stores import put

pytestmark = pytest.mark.slow

BODY = random.Random(3).randbytes(300_000)
SIZE = len(BODY)
ALL = ["all"]
END = [f"bytes={SIZE - AT_ONCE}-{SIZE - 1}"]
BEFORE_END = SIZE - AT_ONCE - 1


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ranges that the store is asked for, in turn."""
    ranges: list[str] = []
    really = S3Bucket.read

    def noting(bucket: S3Bucket, key: str, headers: Mapping[str, str] = {}) -> object:
        ranges.append(headers.get("range", "all"))
        return really(bucket, key, headers)

    monkeypatch.setattr(S3Bucket, "read", noting)
    return ranges


async def part(reading: Reading, start: int, stop: int) -> bytes:
    return b"".join([bytes(piece) async for piece in reading.chunks(Span(start, stop))])


@pytest.mark.parametrize(
    ("spans", "ranges"),
    [
        ([(0, SIZE)], ALL),
        ([(0, 10)], ALL),
        ([(7, 7)], ALL),
        ([(5, 10)], ALL),
        ([(AT_ONCE + 1, AT_ONCE + 5)], [*ALL, f"bytes={AT_ONCE + 1}-{AT_ONCE + 4}"]),
        ([(SIZE - 9, SIZE)], ALL + END),
        ([(SIZE - 9, SIZE), (SIZE - 2_000, SIZE), (5, 10)], ALL + END),
        ([(SIZE - 9, SIZE), (SIZE - AT_ONCE, SIZE - 9), (0, SIZE)], ALL + END),
        ([(SIZE - 9, SIZE), (BEFORE_END, SIZE)], [*ALL, *END, f"bytes={BEFORE_END}-{SIZE - 1}"]),
        ([(SIZE - LAST - 1, SIZE)], [*ALL, f"bytes={SIZE - LAST - 1}-{SIZE - 1}"]),
    ],
)
async def test_who_looks_at_the_end_first_has_what_lies_before_it(
    bucket: S3Bucket, asked: list[str], spans: list[tuple[int, int]], ranges: list[str]
) -> None:
    """As with a body in frames: nine bytes tell of a table, and the table where a frame is."""
    store = store_of(bucket, VERSITYGW)
    await put(store, "k", BODY)

    async with store.open("k") as reading:
        for start, stop in spans:
            assert await part(reading, start, stop) == BODY[start:stop]

    assert asked == ranges


async def test_a_seek_table_is_read_in_one_request(bucket: S3Bucket, asked: list[str]) -> None:
    store, sizes = store_of(bucket, VERSITYGW), array("I", [30_000] * 10)
    await put(store, "k", BODY + b"".join(write_table(sizes, 65_536, 10 * 65_536)))

    with ThreadPoolExecutor(1) as pool:
        async with store.open("k") as reading:
            table = await read_table(reading, Workers(pool, MemoryBudget()))

    assert table is not None
    assert table.stored_size == SIZE
    assert len(asked) == 2


async def test_a_small_object_is_asked_for_once(bucket: S3Bucket, asked: list[str]) -> None:
    store = store_of(bucket, VERSITYGW)
    await put(store, "k", BODY[:AT_ONCE])

    async with store.open("k") as reading:
        assert await part(reading, AT_ONCE - 9, AT_ONCE) == BODY[AT_ONCE - 9 : AT_ONCE]
        assert await part(reading, 5, 10) == BODY[5:10]

    assert asked == ALL
