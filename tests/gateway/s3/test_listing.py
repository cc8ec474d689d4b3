"""How little a listing asks: HEAD for what is not certain, and LIST for no more than it needs."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.stores.base import Attributes, Listing
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.s3.answers import Listed, ListedPage
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.listing import AT_ONCE, Candidate, begin, choose
from pannier_gateway.upstream.connection import Answer
from support.engines import VERSITYGW, Engine, bucket_of, pool_of, store_of
from support.stores import NOON, SECOND, ManualClock, draft, paths, put, whole

pytestmark = pytest.mark.slow
FOLDS = st.lists(st.sampled_from(["a", "b", None]), max_size=40).map(
    lambda each: sorted(each, key=str)
)


class Counted:
    """A real bucket, and what is asked of it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.pool = pool_of(engine)
        self.bucket = bucket_of(engine, name, self.pool)
        self.heads = 0
        self.lists = 0
        head, listed = self.bucket.head, self.bucket.listed

        async def counted_head(key: str) -> Answer:
            self.heads += 1
            return await head(key)

        async def counted_listed(
            prefix: str, start_after: str, most: int, token: str | None, *, encoded: bool
        ) -> ListedPage:
            self.lists += 1
            return await listed(prefix, start_after, most, token, encoded=encoded)

        self.bucket.head = counted_head  # type: ignore[method-assign]  # counts, and asks on
        self.bucket.listed = counted_listed  # type: ignore[method-assign]
        self.clock = ManualClock()
        self.store: S3Store = store_of(self.bucket, VERSITYGW, self.clock)

    def asked(self) -> tuple[int, int]:
        """HEADs and LISTs since it was asked last."""
        counts = self.heads, self.lists
        self.heads = self.lists = 0
        return counts


@pytest.fixture
async def counted(strict: Engine, bucket: S3Bucket) -> AsyncIterator[Counted]:
    counting = Counted(strict, bucket.name)
    yield counting
    counting.pool.close()
    await asyncio.sleep(0)


def age(engine: Engine, bucket: str) -> None:
    """Let all objects be an hour old, as the engine sees it."""
    for folder, _, files in os.walk(engine.folder / "data" / bucket):
        for name in files:
            path = Path(folder, name)
            then = path.stat().st_mtime - 3600
            os.utime(path, (then, then))


async def test_what_head_told_once_is_not_asked_again(strict: Engine, counted: Counted) -> None:
    for number in range(20):
        await put(counted.store, f"k/{number:02d}", b"x")
    age(strict, counted.bucket.name)
    counted.asked()

    first = await counted.store.list(Listing(""))
    assert counted.asked() == (20, 1)

    assert await counted.store.list(Listing("")) == first
    assert counted.asked() == (0, 1)


async def test_what_is_written_anew_is_asked_for_anew(strict: Engine, counted: Counted) -> None:
    for number in range(3):
        await put(counted.store, f"k/{number}", b"x")
    age(strict, counted.bucket.name)
    await counted.store.list(Listing(""))
    counted.asked()

    new = await put(counted.store, "k/1", b"y")

    assert new in (await counted.store.list(Listing(""))).records
    assert counted.asked() == (1, 1)


async def test_the_youngest_objects_are_asked_for_each_time(counted: Counted) -> None:
    """Within a second two versions look the same to whoever lists them."""
    await put(counted.store, "k", b"x")
    for _ in range(2):
        counted.asked()
        await counted.store.list(Listing(""))
        assert counted.asked() == (1, 1)


async def test_a_page_whose_mark_was_lost_is_followed_by_what_comes_after_its_last_key(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, listed = ManualClock(), bucket.listed
    store = store_of(bucket, VERSITYGW, clock)
    for number in range(9):
        await put(store, f"k/{number}", b"x", expires=None if number % 4 == 0 else NOON + SECOND)
    clock.advance(1)

    async def lossy(*where: Any, encoded: bool) -> ListedPage:
        return replace(await listed(*where, encoded=encoded), token=None)

    monkeypatch.setattr(bucket, "listed", lossy)

    assert await paths(store, limit=1) == ["k/0", "k/4", "k/8"]


def test_an_engine_is_never_told_to_begin_before_the_prefix() -> None:
    """Some then list nothing at all."""
    starts = ("", "a/1", "b", "b/1", "c")

    begun = [begin(Listing("b", start), "plain") for start in starts]

    assert begun == ["", "", "b", "b/1", "c"]


async def test_expiry_is_certain_without_asking(strict: Engine, counted: Counted) -> None:
    await put(counted.store, "k", b"x", expires=NOON + SECOND)
    age(strict, counted.bucket.name)
    assert len((await counted.store.list(Listing(""))).records) == 1
    counted.asked()

    counted.clock.advance(1)

    assert (await counted.store.list(Listing(""))).records == ()
    assert counted.asked() == (0, 1)


async def test_one_living_key_is_enough_for_a_prefix(counted: Counted) -> None:
    for number in range(30):
        await put(
            counted.store, f"a/{number:02d}", b"", expires=NOON + SECOND if number < 3 else None
        )
    await put(counted.store, "b", b"")
    counted.clock.advance(1)
    counted.asked()

    page = await counted.store.list(Listing("", delimiter="/"))

    assert page.prefixes == ("a/",)
    heads, lists = counted.asked()
    assert heads <= 3 + 1 + 4  # three expired, one alive; `b` may be asked for along with each
    assert lists == 1


async def test_a_short_page_asks_for_little(counted: Counted) -> None:
    for number in range(40):
        await put(counted.store, f"{number:02d}", b"")
    counted.asked()

    assert len((await counted.store.list(Listing("", limit=3))).records) == 3
    assert counted.asked() == (4, 1)


async def test_records_that_others_made_far_too_large_are_neither_remembered_nor_all_on_one_page(
    strict: Engine, counted: Counted
) -> None:
    """Deflated a megabyte of the same is small enough for any store."""
    heavy = draft(attributes=Attributes(custom={"color": "a" * 1_000_000}))
    for number in range(4):
        await counted.store.put(f"{number}", whole(b"x"), heavy)
    age(strict, counted.bucket.name)
    counted.asked()

    page = await counted.store.list(Listing(""))
    assert [each.path for each in page.records] == ["0", "1", "2"]
    assert counted.asked() == (4, 1)

    rest = await counted.store.list(Listing("", page.next or ""))
    assert [each.path for each in rest.records] == ["3"]
    assert counted.asked() == (1, 1)


async def test_one_that_fails_ends_those_that_are_asked_at_the_same_time(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, head, under_way = store_of(bucket, VERSITYGW), bucket.head, 0
    for number in range(5):
        await put(store, f"{number}", b"x")

    async def failing(key: str) -> Answer:
        nonlocal under_way
        if key.startswith("3"):
            raise StoreUnavailable("no")
        under_way += 1
        try:
            return await head(key)
        finally:
            await asyncio.sleep(0)
            under_way -= 1

    monkeypatch.setattr(bucket, "head", failing)

    with pytest.raises(StoreUnavailable):
        await store.list(Listing(""))

    assert under_way == 0


def candidates(folds: Iterable[str | None]) -> list[Candidate]:
    listed = Listed("k", "", "", 0)
    return [Candidate("p", listed, fold) for fold in folds]


@given(FOLDS, st.integers(0, 40))
def test_of_each_prefix_one_is_chosen_and_of_others_all(folds: list[str | None], at: int) -> None:
    told_before = folds[at - 1] if 0 < at <= len(folds) else None
    chosen = choose(candidates(folds), at, told_before)

    assert len(chosen) <= AT_ONCE
    assert all(one < other for one, other in pairwise(chosen))
    told = [folds[index] for index in chosen if folds[index] is not None]
    assert len(told) == len(set(told))
    assert told_before is None or told_before not in told
    last = chosen[-1] + 1 if len(chosen) == AT_ONCE else len(folds)
    assert all(folds[index] is not None for index in set(range(at, last)) - set(chosen))
