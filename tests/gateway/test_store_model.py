"""Any store behaves as the reference in memory does, whatever is asked of it in whatever order."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Protocol, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import ObjectNotFound, PannierError
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Attributes, Listing, Page, Record, Store, Sweepable
from pannier_gateway.stores.memory import MemoryStore
from support.makes import Engines
from support.stores import (
    KINDS,
    SECOND,
    WORLDS,
    ManualClock,
    about,
    draft,
    pages,
    put,
    shown_on,
    streamed,
    utf8,
    whole,
    world_of,
)

LARGE = bytes(range(256)) * 1100  # a block and a bit of the file store
PATHS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "b", "é", "e\u0301", "\ud7ff", "\U0010ffff"])
BODIES = st.binary(max_size=4) | st.sampled_from([LARGE, LARGE[:70_000], LARGE[::-1]])
SECONDS = st.none() | st.integers(0, 3)
ATTRIBUTES = st.builds(
    Attributes,
    content_type=st.text(max_size=5),
    encoding=st.sampled_from([None, "zstd"]),
    original_size=st.none() | st.integers(0, 1 << 50),
    filename=st.none() | st.text(max_size=5),
    custom=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)
TAGS = st.sampled_from([None, ("*",), ("tag",), ("other",), ("other", "tag")])
CONDITIONS = st.just(UNCONDITIONAL) | st.builds(Conditions, if_match=TAGS, if_none_match=TAGS)


class Step(Protocol):
    """One thing to ask of a store; what comes back does not depend on which."""

    async def on(self, store: Store, clock: ManualClock) -> object: ...


@dataclass(frozen=True)
class Put:
    path: str
    body: bytes
    at_hand: bool
    seconds: int | None
    attributes: Attributes
    conditions: Conditions

    async def on(self, store: Store, clock: ManualClock) -> object:
        expires = None if self.seconds is None else clock.now + self.seconds * SECOND
        source = whole(self.body) if self.at_hand else streamed(self.body, 50_000)
        made = draft(created=clock.now, expires=expires, attributes=self.attributes)
        return await store.put(self.path, source, made, await asked(self, store))


@dataclass(frozen=True)
class Delete:
    path: str
    conditions: Conditions

    async def on(self, store: Store, clock: ManualClock) -> object:
        return await store.delete(self.path, await asked(self, store))


@dataclass(frozen=True)
class Touch:
    path: str
    seconds: int
    version: Literal["this", "other"]

    async def on(self, store: Store, clock: ManualClock) -> object:
        tag = await tag_of(store, self.path) if self.version == "this" else "other"
        return await store.touch(self.path, tag, clock.now + self.seconds * SECOND)


@dataclass(frozen=True)
class Read:
    path: str
    start: float
    stop: float

    async def on(self, store: Store, clock: ManualClock) -> object:
        async with store.open(self.path) as reading:
            size = reading.record.size
            span = Span(*sorted((int(self.start * size), int(self.stop * size))))
            return reading.record, b"".join([bytes(p) async for p in reading.chunks(span)])


@dataclass(frozen=True)
class Look:
    listing: Listing

    async def on(self, store: Store, clock: ManualClock) -> object:
        return [page async for page in pages(store, self.listing)]


@dataclass(frozen=True)
class Pass:
    """Time passes; the stores share it."""

    seconds: int

    async def on(self, store: Store, clock: ManualClock) -> object:
        return None


async def tag_of(store: Store, path: str) -> str:
    try:
        return (await store.head(path)).etag
    except ObjectNotFound:
        return "none"


async def asked(step: Put | Delete, store: Store) -> Conditions:
    return about(step.conditions, await tag_of(store, step.path))


FRACTIONS = st.floats(0, 1)
LISTINGS = st.builds(
    Listing,
    prefix=st.sampled_from(["", "a", "a/", "a/b", "e", "\U0010ffff"]),
    start_after=st.just("") | PATHS,
    limit=st.integers(1, 4),
    delimiter=st.sampled_from(["", "/", "/b"]),
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Put, PATHS, BODIES, st.booleans(), SECONDS, ATTRIBUTES, CONDITIONS),
    st.builds(Put, PATHS, BODIES, st.booleans(), st.none(), ATTRIBUTES, st.just(UNCONDITIONAL)),
    st.builds(Delete, PATHS, CONDITIONS),
    st.builds(Touch, PATHS, st.integers(0, 3), st.sampled_from(["this", "other"])),
    st.builds(Read, PATHS, FRACTIONS, FRACTIONS),
    st.builds(Look, LISTINGS),
    st.builds(Pass, st.integers(1, 2)),
)
EVERYTHING = Look(Listing(""))


async def told(step: Step, store: Store, clock: ManualClock) -> object:
    """What a store answers, but for its etags, which are its own affair."""
    try:
        return tagless(await step.on(store, clock))
    except PannierError as error:
        return type(error)


def tagless(answer: object) -> object:
    match answer:
        case Record():
            return replace(answer, etag="")
        case Page():
            records = tuple(replace(record, etag="") for record in answer.records)
            return replace(answer, records=records)
        case list() | tuple():
            return [tagless(part) for part in answer]
        case _:
            return answer


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(steps=st.lists(STEPS, max_size=25))
async def test_any_store_answers_as_the_reference_does(
    tmp_path_factory: pytest.TempPathFactory, engines: Engines, kind: str, steps: list[Step]
) -> None:
    with TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as root:
        async with world_of(kind, Path(root), engines) as world:
            reference = MemoryStore(world.clock)
            for step in [*steps, EVERYTHING]:
                if isinstance(step, Touch) and not world.moves:
                    continue
                if isinstance(step, Pass):
                    world.clock.advance(step.seconds)
                    swept = await reference.sweep(100)
                    if not world.remote:
                        assert await cast(Sweepable, world.base).sweep(100) == swept
                expected = await told(step, reference, world.clock)
                assert await told(step, world.store, world.clock) == expected
            assert world.strays() == set()


# Listing, against its definition


LETTERS = "ab/é\ud7ff\ue000\U0010ffff"
KEYS = st.sets(st.text(LETTERS, min_size=1, max_size=5), max_size=14)
ANY_LISTING = st.builds(
    Listing,
    prefix=st.text(LETTERS, max_size=2),
    start_after=st.text(LETTERS, max_size=4),
    limit=st.integers(1, 5),
    delimiter=st.sampled_from(["", "/", "a", "//", "/a", "\U0010ffff"]),
)


def folded(key: str, listing: Listing) -> str:
    """What stands for a key in a listing: itself, or all up to the first delimiter."""
    rest = key.removeprefix(listing.prefix)
    if not listing.delimiter or listing.delimiter not in rest:
        return key
    return listing.prefix + rest.partition(listing.delimiter)[0] + listing.delimiter


def entries(keys: set[str], listing: Listing) -> list[str]:
    """All that a listing and the pages after it show."""
    start = listing.start_after
    listed = (key for key in keys if key.startswith(listing.prefix) and utf8(key) > utf8(start))
    return sorted({folded(key, listing) for key in listed} - {start}, key=utf8)


@settings(max_examples=25)
@given(keys=KEYS, listings=st.lists(ANY_LISTING, min_size=1, max_size=6))
async def test_pages_show_what_there_is_in_order_and_full(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], listings: list[Listing]
) -> None:
    with TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as root:
        for kind in ("memory", "counted and prefixed file"):
            async with WORLDS[kind](Path(root)) as world:
                for key in keys:
                    await put(world.store, key, b"")
                for listing in listings:
                    wanted = entries(keys, listing)
                    shown = [shown_on(page) async for page in pages(world.store, listing)]

                    size = listing.limit
                    parts = [wanted[i : i + size] for i in range(0, len(wanted), size)]
                    assert shown == (parts or [[]])
