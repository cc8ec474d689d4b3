"""Stores around stores: what each adds. That they keep the seam's promises is proved elsewhere."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import ObjectNotFound, PreconditionFailed, StoreUnavailable
from pannier_gateway.ranges import EVERYTHING, NOTHING, RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.absent import AbsentStore
from pannier_gateway.stores.around import StoreAround
from pannier_gateway.stores.base import Listing, Reading, Store
from pannier_gateway.stores.counted import CountedStore
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.stores.prefixed import PrefixedStore
from support.faulty import FaultyStore
from support.hostile import BreakingStore, ChoppyStore, FickleStore, SlowStore, Wrapped, chopped
from support.stores import (
    Body,
    ManualClock,
    counted_and_prefixed,
    file_store,
    paths,
    prefixed,
    put,
    read,
    resilient_world,
    strays,
    streamed,
)

LARGE = bytes(range(256)) * 2048

EVERY_VERB: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: read(store, "k"),
    lambda store: store.head("k"),
    lambda store: put(store, "k", b"x"),
    lambda store: store.delete("k"),
    lambda store: store.touch("k", "tag", 0),
    lambda store: store.list(Listing("")),
]
VERBS = ["open", "head", "put", "delete", "touch", "list"]


# A part of a store


async def test_parts_of_a_store_see_nothing_of_each_other() -> None:
    base = MemoryStore(ManualClock())
    a, ab, a_b = (PrefixedStore(base, prefix) for prefix in ("a", "ab", "a/b"))
    for number, part in enumerate((a, ab, a_b)):
        await put(part, "k", b"%d" % number)

    assert [await read(part, "k") for part in (a, ab, a_b)] == [b"0", b"1", b"2"]
    assert await paths(base) == ["a/b/k", "a/k", "ab/k"]
    assert await paths(ab) == await paths(a_b) == ["k"]
    assert await paths(a) == ["b/k", "k"]  # as folders do
    assert await ab.delete("k")
    assert await paths(base) == ["a/b/k", "a/k"]


async def test_a_part_pages_through_its_own_and_stops_there() -> None:
    base = MemoryStore(ManualClock())
    part = PrefixedStore(base, "m")
    for path in ("l/1", "m", "m/1", "m/2/1", "m/2/2", "m/3", "m0", "n/1"):
        await put(base, path, b"")

    first = await part.list(Listing("", limit=2, delimiter="/"))
    second = await part.list(Listing("", first.next or "", 2, "/"))

    assert ([r.path for r in first.records], first.prefixes, first.next) == (["1"], ("2/",), "2/")
    assert ([r.path for r in second.records], second.prefixes, second.next) == (["3"], (), None)


# What will be read


class Told(StoreAround):
    """Notes what is said ahead of reads."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.ahead: list[RangeSpec] = []

    def open(
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        self.ahead.append(ahead)
        return super().open(path, ahead)


@pytest.mark.parametrize("wrap", [prefixed, counted_and_prefixed, SlowStore, FaultyStore])
async def test_every_wrapper_hands_on_what_will_be_read(
    wrap: Callable[[Store], Store], tmp_path: Path
) -> None:
    bottom: list[Told] = []

    def told(store: Store) -> Store:
        bottom.append(Told(store))
        return bottom[0]

    async with resilient_world(tmp_path, told) as world:
        store = wrap(world.store)
        await put(store, "k", b"x")
        for ahead in (RangeSpec(3, 9), NOTHING):
            async with store.open("k", ahead):
                pass

    assert bottom[0].ahead == [RangeSpec(3, 9), NOTHING]


# A store that is counted


async def test_every_operation_is_observed_with_how_it_ended() -> None:
    seen: list[tuple[str, str]] = []

    def observe(operation: str, outcome: str, seconds: float) -> None:
        assert 0 < seconds < 60
        seen.append((operation, outcome))

    store = CountedStore(MemoryStore(ManualClock()), observe)
    await put(store, "k", b"x")
    for verb in EVERY_VERB:
        await verb(store)

    assert seen == [("put", "ok"), *((verb, "ok") for verb in VERBS)]


async def test_what_goes_wrong_is_observed_by_name_and_goes_on() -> None:
    seen: list[tuple[str, str]] = []
    store = CountedStore(
        MemoryStore(ManualClock()), lambda operation, outcome, _: seen.append((operation, outcome))
    )

    with pytest.raises(ObjectNotFound):
        await read(store, "absent")
    with pytest.raises(PreconditionFailed):
        await put(store, "k", b"x", Conditions(if_match=("*",)))
    with pytest.raises(ZeroDivisionError):
        await put(store, "k", Body([ZeroDivisionError()]))

    assert seen == [("open", "ObjectNotFound"), ("put", "PreconditionFailed"), ("put", "aborted")]


async def test_opening_is_timed_and_reading_is_not() -> None:
    seen: list[str] = []
    store = CountedStore(MemoryStore(ManualClock()), lambda operation, *_: seen.append(operation))
    await put(store, "k", b"x")

    async with store.open("k"):
        assert seen == ["put", "open"]

    assert seen == ["put", "open"]


# A store that can't be had


@pytest.mark.parametrize("verb", EVERY_VERB, ids=VERBS)
async def test_a_store_that_can_not_be_had_says_why(
    verb: Callable[[Store], Awaitable[object]],
) -> None:
    with pytest.raises(StoreUnavailable, match="bucket default/main has type S3"):
        await verb(AbsentStore("bucket default/main has type S3"))


# Hostile ones do what they say


def test_choppy_pieces_are_the_same_bytes_and_some_are_none() -> None:
    pieces = list(chopped(LARGE))

    assert b"".join(pieces) == LARGE
    assert b"" in pieces[:-1]
    assert 1 in map(len, pieces)


@pytest.mark.parametrize("wrapper", [SlowStore, ChoppyStore])
async def test_what_is_small_goes_in_at_hand_and_comes_out_in_pieces(
    wrapper: type[Wrapped],
) -> None:
    store = wrapper(MemoryStore(ManualClock()))
    await put(store, "k", b"small")

    async with store.open("k") as reading:
        assert reading.whole is None
    assert await read(store, "k") == b"small"


@pytest.mark.parametrize("at", [0, 1, 262_143, 262_144, 262_145, len(LARGE) - 1])
async def test_a_breaking_store_breaks_at_that_byte_and_lets_go_of_the_file(
    tmp_path: Path, at: int
) -> None:
    async with file_store(tmp_path, ManualClock()) as base:
        store = BreakingStore(base, at, StoreUnavailable("broke"))
        await put(store, "k", streamed(LARGE))

        assert await read(store, "k", Span(0, at)) == LARGE[:at]
        with pytest.raises(StoreUnavailable, match="broke"):
            await read(store, "k", Span(0, at + 1))
        assert await base.delete("k")
        assert strays(tmp_path) == set()


async def test_a_fickle_store_changes_every_byte_from_there_on() -> None:
    store = FickleStore(MemoryStore(ManualClock()), 300_000)
    await put(store, "k", LARGE)

    got = await read(store, "k")

    assert got[:300_000] == LARGE[:300_000]
    assert all(have != want for have, want in zip(got[300_000:], LARGE[300_000:], strict=True))
