"""What the Store seam promises, asked of every store and of every wrapper around one."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from itertools import combinations
from pathlib import Path
from typing import cast

import pytest

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import (
    BadRequest,
    Damaged,
    ObjectExpired,
    ObjectNotFound,
    ObjectReplaced,
    PreconditionFailed,
)
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.base import (
    Attributes,
    Buffer,
    Draft,
    Listing,
    Page,
    Record,
    Store,
    Sweepable,
    encoded_etag,
)
from support.makes import Engines
from support.stores import (
    KINDS,
    NOON,
    SECOND,
    Body,
    ManualClock,
    World,
    about,
    draft,
    pages,
    paths,
    put,
    read,
    shown_on,
    streamed,
    utf8,
    whole,
    world_of,
)

KIB, MIB = 1024, 1024 * 1024
BLOCK = 256 * KIB
NOISE = random.Random(8650).randbytes(3 * MIB + 17)
SIZES = [0, 1, *(edge + by for edge in (64 * KIB, BLOCK, MIB) for by in (-1, 0, 1)), 3 * MIB + 17]
SMALL, LARGE = NOISE[:1000], NOISE[: 300 * KIB]
CREATE = Conditions(if_none_match=("*",))
REPLACE = Conditions(if_match=("*",))

KEYS = [
    "a", "A", "a/b", "a//b", "a/", "/", "//", "/lead", "trail/", ".", "..", "../../x", "./a",
    "%25", "%2e%2e", "%", "a\\b", "C:", "NUL", "-rf", " ", "a b", "tab\tline\n", "\x01", "\x7f",
    "a?b=c&d#e", "a;b", "'); DROP TABLE objects; --", "*", "a*", "[a]", "_", "a_b", "index.db",
    "é", "e\u0301", "ß", "ẞ", "I", "ı", "日本語", "עברית", "😀", "👩\u200d🚀", "\ud7ff", "\ue000",
    "\ufeff", "\uffff", "\U00010000", "\U0010ffff", "k" * 900, "k" * 901, "😀" * 225,
]  # fmt: skip


@pytest.fixture(params=KINDS)
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, engines: Engines
) -> AsyncIterator[World]:
    async with world_of(request.param, tmp_path, engines) as world:
        yield world


@pytest.fixture
def store(world: World) -> Store:
    return world.store


@pytest.fixture
def sweepable(world: World) -> Sweepable:
    """What has to be told to forget."""
    if world.remote:
        pytest.skip("an engine forgets by itself")
    return cast(Sweepable, world.base)


@pytest.fixture
def moving(world: World) -> Store:
    """One that moves deadlines."""
    if not world.moves:
        pytest.skip("its engine can't move deadlines safely: TimeToIdle is refused")
    return world.store


@pytest.fixture
def clock(world: World) -> ManualClock:
    return world.clock


# Objects and their names


async def test_every_kind_of_key_names_an_object_of_its_own(world: World) -> None:
    keys = [key for key in KEYS if len(key.encode()) <= world.longest]
    for key in keys:
        await put(world.store, key, key.encode())

    assert [await read(world.store, key) for key in keys] == [key.encode() for key in keys]
    assert await paths(world.store) == sorted(keys, key=utf8)
    for gone, key in enumerate(keys, 1):
        assert await world.store.delete(key)
        assert await paths(world.store) == sorted(keys[gone:], key=utf8)


async def test_the_longest_keys_are_kept_or_refused(world: World) -> None:
    for key in ("k" * 1024, "k" * 1023, "😀" * 256):
        try:
            await put(world.store, key, b"x")
        except BadRequest:
            assert world.remote  # its escaped form may be longer than an engine's keys
        else:
            assert await read(world.store, key) == b"x"


async def test_bytes_come_back_as_they_went_in(world: World) -> None:
    for size in SIZES:
        data = NOISE[:size]
        at_hand = await put(world.store, "at hand", data)
        in_pieces = await put(world.store, "in pieces", streamed(data))

        assert at_hand.size == in_pieces.size == size
        assert await read(world.store, "at hand") == data
        assert await read(world.store, "in pieces") == data
    assert world.strays() == set()


async def test_what_is_at_hand_is_what_would_be_read(store: Store) -> None:
    await put(store, "k", SMALL)

    async with store.open("k") as reading:
        assert reading.whole in (None, SMALL)


@pytest.mark.parametrize("data", [SMALL, NOISE], ids=["small", "large"])
async def test_any_range_is_those_bytes_of_the_object(store: Store, data: bytes) -> None:
    await put(store, "k", streamed(data))
    edges = {0, 1, 500, BLOCK - 1, BLOCK, BLOCK + 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB}
    edges = {edge for edge in edges if edge < len(data)} | {len(data) - 1, len(data)}

    for start, stop in combinations(sorted(edges), 2):
        assert await read(store, "k", Span(start, stop)) == data[start:stop]


async def test_an_empty_range_is_no_bytes(store: Store) -> None:
    await put(store, "k", streamed(LARGE))

    assert await read(store, "k", Span(0, 0)) == b""
    assert await read(store, "k", Span(BLOCK, BLOCK)) == b""


@pytest.mark.parametrize("size", [0, 1, 70_000, 300 * KIB])
async def test_whatever_was_said_ahead_any_range_can_be_read(store: Store, size: int) -> None:
    data = NOISE[:size]
    told = await put(store, "k", streamed(data))
    guesses = [(0, 0), (0, 69_999), (5, 9), (66_000, None), (None, 9), (None, 1 << 20), (None, 0)]
    spans = [(0, size), (0, 9), (5, 10), (66_000, 69_000), (size - 9, size), (size // 2, size)]

    for ahead in (*(RangeSpec(*guess) for guess in guesses), RangeSpec(1 << 40, None), EVERYTHING):
        for start, stop in spans:
            span = Span(min(max(start, 0), size), min(stop, size))
            async with store.open("k", ahead) as reading:
                assert reading.record == told
                pieces = [bytes(piece) async for piece in reading.chunks(span)]
            assert b"".join(pieces) == data[slice(*span)], (ahead, span)


async def test_two_ranges_of_one_reading_may_be_read_at_once(store: Store) -> None:
    await put(store, "k", streamed(NOISE))
    parts = [Span(start, start + MIB) for start in range(0, 3 * MIB, MIB)]

    async with store.open("k") as reading:

        async def part(span: Span) -> bytes:
            return b"".join([bytes(piece) async for piece in reading.chunks(span)])

        assert b"".join(await asyncio.gather(*map(part, parts))) == NOISE[: 3 * MIB]


async def test_a_reader_may_stop_early(world: World) -> None:
    await put(world.store, "k", streamed(NOISE))

    async with (
        world.store.open("k") as reading,
        aclosing(reading.chunks(Span(0, len(NOISE)))) as pieces,
    ):
        assert NOISE.startswith(bytes(await anext(pieces)))

    assert await world.store.delete("k")
    assert world.strays() == set()


async def test_what_was_never_stored_is_not_found(store: Store) -> None:
    await put(store, "a/b", b"x")

    for path in ("", "a", "a/", "a/b/", "a/b/c"):
        with pytest.raises(ObjectNotFound):
            await store.head(path)
        with pytest.raises(ObjectNotFound):
            await read(store, path)
        assert not await store.delete(path)
        assert not await store.touch(path, "any", NOON)


# What is kept beside the bytes


async def test_everything_about_an_object_comes_back(world: World) -> None:
    attributes = Attributes(
        content_type="text/plain; charset=utf-8",
        encoding="zstd",
        by_client=True,
        original_size=1 << 40,
        policy="tti" if world.moves else "ttl",
        after=90 * 24 * 3600 * SECOND,
        origin="203.0.113.42",
        filename="naïve \u202e 😀.txt",
        custom={"empty": "", "quote": '"\\\n', "é": "e\u0301", "long": "x" * 8192},
    )

    stored = await world.store.put("k", whole(b"x"), draft(expires=NOON + 1, attributes=attributes))

    assert stored.path == "k"
    assert (stored.created, stored.expires) == (NOON, NOON + 1)
    assert stored.attributes == attributes


async def test_put_head_open_and_list_tell_the_same(store: Store) -> None:
    told = await store.put(
        "a/k", streamed(LARGE), draft(expires=NOON + 1, attributes=Attributes(filename="f"))
    )

    assert await store.head("a/k") == told
    assert (await store.list(Listing(""))).records == (told,)
    for _ in range(2):
        async with store.open("a/k") as reading:
            assert reading.record == told
    assert await store.head("a/k") == told


async def test_nothing_of_the_object_before_is_left_in_the_next(store: Store) -> None:
    rich = Attributes(filename="f", origin="o", custom={"a": "b"})
    await store.put("k", streamed(LARGE), draft(expires=NOON + 1, attributes=rich))

    await store.put("k", whole(b"new"), draft(created=NOON + 5))

    record = await store.head("k")
    assert (record.size, record.created, record.expires) == (3, NOON + 5, None)
    assert record.attributes == Attributes()


async def test_the_draft_is_asked_for_once_the_last_byte_has_come(store: Store) -> None:
    happened: list[str] = []

    class Noted(Body):
        async def __aiter__(self) -> AsyncIterator[Buffer]:
            async for piece in super().__aiter__():
                yield piece
            happened.append("end")

    def noted() -> Draft:
        happened.append("draft")
        return draft()()

    await store.put("k", Noted([b"a", b"b"]), noted)

    assert happened[-2:] == ["end", "draft"]  # whatever has been asked before


async def test_the_etag_changes_whenever_the_bytes_do(store: Store) -> None:
    bodies = [b"", b"a", b"b", b"aa", LARGE, LARGE[:-1] + b"x", LARGE[:-1], b"a"]

    tags = [(await put(store, "k", body)).etag for body in bodies]

    assert len(set(tags[:-1])) == len(tags) - 1
    assert tags[-1] != tags[-2]


# Conditions


MATCHING: list[tuple[Conditions, bool, bool]] = [
    (UNCONDITIONAL, True, True),
    (CREATE, True, False),
    (REPLACE, False, True),
    (Conditions(if_match=("tag",)), False, True),
    (Conditions(if_match=("other", "tag")), False, True),
    (Conditions(if_match=("other",)), False, False),
    (Conditions(if_match=()), False, False),
    (Conditions(if_none_match=("tag",)), True, False),
    (Conditions(if_none_match=("other",)), True, True),
    (Conditions(if_unmodified_since=NOON), True, True),
    (Conditions(if_unmodified_since=NOON - SECOND), True, False),
    (Conditions(if_match=("tag",), if_unmodified_since=NOON - SECOND), False, True),
]
"""Conditions ("tag": the object's own), whether they hold where nothing is, and where it is."""


async def test_a_conditional_put_over_an_object(world: World) -> None:
    for conditions, _, holds in MATCHING:
        for body in (b"new", LARGE[1:]):
            old = await put(world.store, "k", LARGE)
            done = await succeeds(put(world.store, "k", body, about(conditions, old.etag)))

            assert done == holds, conditions
            assert await read(world.store, "k") == (body if holds else LARGE)
    assert world.strays() == set()


@pytest.mark.parametrize("expired", [False, True], ids=["never was", "expired"])
async def test_a_conditional_put_where_nothing_is(world: World, expired: bool) -> None:
    for number, (conditions, holds, _) in enumerate(MATCHING):
        for key, body in ((f"small/{number}", b"new"), (f"large/{number}", LARGE)):
            asked = about(conditions, await etag_before(world.store, key, expired=expired))
            done = await succeeds(put(world.store, key, body, asked))

            assert done == holds, conditions
            assert await paths(world.store, key) == ([key] if holds else [])
    assert world.strays() == set()


async def test_a_conditional_delete_of_an_object(store: Store) -> None:
    for conditions, _, holds in MATCHING:
        old = await put(store, "k", b"old")
        done = await succeeds(store.delete("k", about(conditions, old.etag)))

        assert done == holds, conditions
        assert await paths(store) == ([] if holds else ["k"])


@pytest.mark.parametrize("expired", [False, True], ids=["never was", "expired"])
async def test_a_conditional_delete_where_nothing_is(store: Store, expired: bool) -> None:
    for number, (conditions, holds, _) in enumerate(MATCHING):
        key = str(number)
        asked = about(conditions, await etag_before(store, key, expired=expired))

        assert await succeeds(store.delete(key, asked)) == holds, conditions


async def succeeds(change: Awaitable[object]) -> bool:
    try:
        await change
    except PreconditionFailed:
        return False
    return True


async def etag_before(store: Store, key: str, *, expired: bool) -> str:
    """The etag of what was at `key`, or an invented one where nothing was."""
    return (await put(store, key, b"old", expires=NOON)).etag if expired else "tag"


async def test_a_condition_may_name_the_encoded_representation(store: Store) -> None:
    encoded = draft(attributes=Attributes(encoding="zstd"))
    old = await store.put("k", whole(b"old"), encoded)
    tag = encoded_etag(old.etag)

    with pytest.raises(PreconditionFailed):
        await put(store, "k", b"new", Conditions(if_none_match=(tag,)))
    await put(store, "k", b"new", Conditions(if_match=(tag,)))

    with pytest.raises(PreconditionFailed):
        await put(store, "k", b"newer", Conditions(if_match=(tag,)))


# Many at once


def contenders() -> list[bytes]:
    """Bodies of many sizes, all different."""
    return [NOISE[i : i + (1000 if i % 3 else 70_000 + i)] for i in range(20)]


async def attempts(store: Store, bodies: list[bytes], asked: Conditions) -> list[bytes]:
    """Put all bodies at once; those that were stored."""
    ended = await asyncio.gather(
        *(put(store, "k", streamed(b, 5000) if len(b) > 1000 else b, asked) for b in bodies),
        return_exceptions=True,
    )
    assert all(isinstance(each, Record | PreconditionFailed) for each in ended)
    return [body for body, end in zip(bodies, ended, strict=True) if isinstance(end, Record)]


async def test_one_of_many_creators_wins(world: World) -> None:
    winners = await attempts(world.store, contenders(), CREATE)

    assert len(winners) == 1
    assert await read(world.store, "k") == winners[0]
    assert world.strays() == set()


async def test_one_of_many_updates_of_a_version_wins(world: World) -> None:
    old = await put(world.store, "k", LARGE)

    winners = await attempts(world.store, contenders(), Conditions(if_match=(old.etag,)))

    assert len(winners) == 1
    assert await read(world.store, "k") == winners[0]
    assert world.strays() == set()


async def test_one_of_many_deleters_deletes(store: Store) -> None:
    await put(store, "k", LARGE)

    deleted = await asyncio.gather(*(store.delete("k") for _ in range(20)))

    assert sorted(deleted) == [False] * 19 + [True]


async def test_the_last_of_many_writers_is_what_stays(world: World) -> None:
    winners = await attempts(world.store, contenders(), UNCONDITIONAL)

    assert len(winners) == 20
    try:
        assert await read(world.store, "k") in winners
    except Damaged:
        assert world.mixes
    assert world.strays() == set()


# Reading while things change


@pytest.mark.parametrize("data", [SMALL, NOISE], ids=["small", "large"])
async def test_who_reads_an_object_reads_all_of_it_whatever_becomes_of_the_key(
    world: World, data: bytes
) -> None:
    for new in (b"new", LARGE, None):
        await put(world.store, "k", streamed(data))
        async with world.store.open("k") as reading:
            pieces = reading.chunks(Span(0, len(data)))
            got = [bytes(await anext(pieces))]
            await become(world.store, "k", new)
            got += [bytes(piece) async for piece in pieces]
            try:
                again = [bytes(piece) async for piece in reading.chunks(Span(0, len(data)))]
            except ObjectReplaced:
                assert not world.holds
            else:
                assert b"".join(again) == data

        assert b"".join(got) == data
    assert world.strays() == set()


async def become(store: Store, path: str, data: bytes | None) -> None:
    """Let `data` be what is at `path`, or nothing."""
    if data is None:
        await store.delete(path)
    else:
        await put(store, path, data)


async def test_readers_among_writers_see_one_version_each(world: World) -> None:
    versions = [bytes([number]) * size for number, size in enumerate((10, MIB, 70_000, 2 * MIB))]
    stored = {(await put(world.store, "k", versions[0])).etag: versions[0]}

    async def write(turn: int) -> None:
        version = versions[turn % 4]
        stored[(await put(world.store, "k", streamed(version))).etag] = version

    async def look() -> tuple[str, bytes] | None:
        try:
            return await whole_of_one()
        except Damaged:
            assert world.mixes
            return None

    async def whole_of_one() -> tuple[str, bytes]:
        async with world.store.open("k") as reading:
            pieces = reading.chunks(Span(0, reading.record.size))
            return reading.record.etag, b"".join([bytes(piece) async for piece in pieces])

    seen = await asyncio.gather(
        *(job for turn in range(12) for job in (look(), write(turn), look()))
    )

    for etag, data in filter(None, seen):
        assert data == stored[etag]
    assert world.strays() == set()


# Puts that come to nothing


class Broke(Exception):
    """What a source raises."""


@pytest.mark.parametrize("old", [None, b"old", LARGE], ids=["nothing", "small", "large"])
async def test_a_source_that_fails_changes_nothing(world: World, old: bytes | None) -> None:
    await become(world.store, "k", old)

    for before in ([], [b"x"], [LARGE], [NOISE, NOISE]):
        with pytest.raises(Broke):
            await put(world.store, "k", Body([*before, Broke()]))

        assert await paths(world.store) == ([] if old is None else ["k"])
        assert old is None or await read(world.store, "k") == old
        assert world.strays() == set()


@pytest.mark.parametrize("data", [b"x", LARGE], ids=["small", "large"])
async def test_a_draft_that_fails_changes_nothing(world: World, data: bytes) -> None:
    def failing() -> Draft:
        raise Broke

    with pytest.raises(Broke):
        await world.store.put("k", streamed(data), failing)

    assert await paths(world.store) == []
    assert world.strays() == set()


@pytest.mark.parametrize("data", [SMALL, LARGE, NOISE], ids=["small", "large", "larger"])
async def test_a_put_that_is_cancelled_leaves_nothing_or_all(world: World, data: bytes) -> None:
    """Cancelled after each number of turns of the event loop until it is too late."""
    for turns in range(30):
        body = whole(data) if len(data) <= 1000 else streamed(data, MIB)
        task = asyncio.create_task(put(world.store, "k", body))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await put(world.store, "later", b"")  # commits come in turn: this one is the last

        if "k" in await paths(world.store):
            assert await read(world.store, "k") == data
            await world.store.delete("k")
        assert world.strays() == set()


async def test_a_put_that_is_cancelled_while_its_body_comes_leaves_nothing(world: World) -> None:
    never = asyncio.Event()

    class Stalled(Body):
        async def __aiter__(self) -> AsyncIterator[Buffer]:
            async for piece in super().__aiter__():
                yield piece
            arrived.set()
            await never.wait()

    for before in ([], [b"x"], [NOISE]):
        arrived = asyncio.Event()
        task = asyncio.create_task(put(world.store, "k", Stalled(before)))
        await arrived.wait()
        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert await paths(world.store) == []
        assert world.strays() == set()


# Listing


@pytest.mark.slow
async def test_thousands_of_objects_are_listed_in_pages(world: World) -> None:
    store, each = world.store, 25 if world.remote else 100  # of a hundred prefixes
    keys = [f"{i % 100:02d}/{i // 100:02d}" for i in range(100 * each)]
    for start in range(0, len(keys), 2000):
        await asyncio.gather(*(put(store, key, b"") for key in keys[start : start + 2000]))
    ordered = sorted(keys)

    assert await paths(store) == ordered
    assert await paths(store, limit=len(keys) - 1) == ordered
    assert await paths(store, "42/") == [f"42/{i:02d}" for i in range(each)]
    assert await paths(store, "9") == ordered[90 * each :]
    folded = [page async for page in pages(store, Listing("", limit=30, delimiter="/"))]
    assert [len(page.prefixes) for page in folded] == [30, 30, 30, 10]
    assert [p for page in folded for p in page.prefixes] == [f"{i:02d}/" for i in range(100)]
    middle = await store.list(Listing("", start_after=f"49/{each - 1:02d}", limit=3))
    assert [record.path for record in middle.records] == ["50/00", "50/01", "50/02"]


async def test_a_page_has_a_next_one_only_where_more_follows(store: Store) -> None:
    keys = ["a", "b/1", "b/2", "c", "d/1", "d/2"]
    for key in keys:
        await put(store, key, b"")

    for delimiter, entries in (("", keys), ("/", ["a", "b/", "c", "d/"])):
        for limit in range(1, 8):
            listed = [page async for page in pages(store, Listing("", "", limit, delimiter))]
            shown = [shown_on(page) for page in listed]

            assert shown == [entries[i : i + limit] for i in range(0, len(entries), limit)]
            assert [page.next for page in listed] == [*(names[-1] for names in shown[:-1]), None]


async def test_an_empty_store_has_one_empty_page(store: Store) -> None:
    assert await store.list(Listing("")) == Page(())
    assert await store.list(Listing("a", "b", 1, "/")) == Page(())


async def test_objects_come_in_the_order_of_their_utf8_bytes(store: Store) -> None:
    keys = ["\U0010ffff", "\U00010000", "\uffff", "\ue000", "\ud7ff", "z", "a", "\x01", "\x7f", "é"]
    for key in keys:
        await put(store, key, b"")

    assert await paths(store) == sorted(keys, key=utf8)


async def test_a_prefix_of_the_highest_code_points_ends_where_it_should(store: Store) -> None:
    prefixes = ["\U0010ffff", "a\U0010ffff", "\ud7ff", "\x7f", "\U0010ffff\U0010ffff"]
    keys = [key for prefix in prefixes for key in (prefix, f"{prefix}\x01", f"{prefix}z")]
    keys += ["\x01", "a", "b", "\x80", "\ue000", "a\U0010fffe", "\U0010fffe"]
    for key in keys:
        await put(store, key, b"")

    for prefix in prefixes:
        inside = sorted((key for key in keys if key.startswith(prefix)), key=utf8)
        assert await paths(store, prefix, limit=2) == inside


async def test_a_folded_prefix_of_the_highest_code_points_is_the_last(store: Store) -> None:
    for key in ("a", "\U0010ffff1", "\U0010ffff2", "\U0010ffff"):
        await put(store, key, b"")

    page = await store.list(Listing("", delimiter="\U0010ffff"))

    assert [record.path for record in page.records] == ["a"]
    assert page.prefixes == ("\U0010ffff",)
    assert page.next is None


async def test_a_listing_begins_after_the_given_path(store: Store) -> None:
    for key in ("a", "a/", "a/1", "a/2", "b", "b/1", "c"):
        await put(store, key, b"")

    async def after(start: str, prefix: str = "", delimiter: str = "") -> list[str]:
        page = await store.list(Listing(prefix, start, delimiter=delimiter))
        return shown_on(page)

    assert await after("a/1") == ["a/2", "b", "b/1", "c"]
    assert await after("a/1.5") == ["a/2", "b", "b/1", "c"]
    assert await after("c") == []
    assert await after("a/1", prefix="b") == ["b", "b/1"]
    assert await after("c", prefix="b") == []
    assert await after("b", prefix="b") == ["b/1"]
    assert await after("a/", delimiter="/") == ["b", "b/", "c"]
    assert await after("a/1", delimiter="/") == ["a/", "b", "b/", "c"]
    assert await after("a", delimiter="/") == ["a/", "b", "b/", "c"]


async def test_paging_shows_what_stays_exactly_once_while_other_keys_come_and_go(
    store: Store,
) -> None:
    stays = [f"{i:03d}/stays" for i in range(60)]
    for i, key in enumerate(stays):
        await put(store, key, b"")
        await put(store, f"{i:03d}/goes", b"")
    seen: list[str] = []

    turn = 0
    async for page in pages(store, Listing("", limit=7)):
        seen += [record.path for record in page.records]
        for i in (turn, 59 - turn):
            await store.delete(f"{i:03d}/goes")
            await put(store, f"{i:03d}/new", b"")
        if page.next is not None and "stays" not in page.next:
            await store.delete(page.next)
        turn += 1

    assert [key for key in seen if "stays" in key] == stays
    assert seen == sorted(set(seen))


async def test_a_page_continues_although_its_last_key_is_gone(store: Store) -> None:
    for key in ("a", "b/1", "b/2", "c"):
        await put(store, key, b"")
    page = await store.list(Listing("", limit=2, delimiter="/"))
    assert page.next == "b/"

    for key in ("b/1", "b/2"):
        await store.delete(key)

    rest = await store.list(Listing("", "b/", 2, "/"))
    assert [record.path for record in rest.records] == ["c"]


# Expiry


async def test_an_object_lives_until_its_time_and_not_a_microsecond_longer(
    store: Store, clock: ManualClock
) -> None:
    await put(store, "k", b"x", expires=NOON + SECOND)

    clock.now = NOON + SECOND - 1
    assert await read(store, "k") == b"x"

    clock.now = NOON + SECOND
    with pytest.raises(ObjectExpired):
        await store.head("k")


@pytest.mark.parametrize("data", [b"x", LARGE], ids=["small", "large"])
async def test_an_expired_object_is_absent_for_every_verb(
    store: Store, clock: ManualClock, data: bytes
) -> None:
    old = await put(store, "k", data, expires=NOON + SECOND)
    await put(store, "l", b"alive")
    clock.advance(1)

    with pytest.raises(ObjectExpired):
        await store.head("k")
    with pytest.raises(ObjectExpired):
        await read(store, "k")
    assert await paths(store) == ["l"]
    assert not await store.touch("k", old.etag, NOON + 9 * SECOND)
    with pytest.raises(PreconditionFailed):
        await store.delete("k", REPLACE)
    assert not await store.delete("k")
    with pytest.raises(ObjectNotFound):
        await store.head("k")


async def test_a_creator_may_take_the_place_of_an_expired_object(
    world: World, clock: ManualClock
) -> None:
    await put(world.store, "k", LARGE, expires=NOON + SECOND)
    clock.advance(1)

    with pytest.raises(PreconditionFailed):
        await put(world.store, "k", b"new", REPLACE)
    await put(world.store, "k", b"new", CREATE)

    assert await read(world.store, "k") == b"new"
    assert world.strays() == set()


async def test_pages_are_full_although_expired_objects_lie_between(
    store: Store, clock: ManualClock
) -> None:
    for i in range(40):
        await put(store, f"{i:02d}/x", b"", expires=None if i % 10 == 0 else NOON + SECOND)
    clock.advance(1)

    page = await store.list(Listing("", limit=3))
    folded = await store.list(Listing("", limit=4, delimiter="/"))

    assert [record.path for record in page.records] == ["00/x", "10/x", "20/x"]
    assert page.next == "20/x"
    assert folded == Page((), ("00/", "10/", "20/", "30/"))


async def test_who_reads_an_object_reads_on_when_it_expires(
    store: Store, clock: ManualClock
) -> None:
    await put(store, "k", streamed(NOISE), expires=NOON + SECOND)

    async with store.open("k") as reading:
        clock.advance(1)
        data = [bytes(piece) async for piece in reading.chunks(Span(0, len(NOISE)))]

    assert b"".join(data) == NOISE


async def test_touch_moves_the_expiry_and_nothing_else(moving: Store, clock: ManualClock) -> None:
    attributes = Attributes(policy="tti", after=SECOND, custom={"a": "b"})
    old = await moving.put("k", whole(b"x"), draft(expires=NOON + 1, attributes=attributes))

    assert await moving.touch("k", old.etag, NOON + 9 * SECOND)

    clock.advance(8)
    touched = await moving.head("k")
    assert touched.expires == NOON + 9 * SECOND
    assert (touched.etag, touched.size, touched.created) == (old.etag, old.size, old.created)
    assert touched.attributes == attributes
    assert await read(moving, "k") == b"x"


async def test_touch_leaves_other_versions_alone(store: Store) -> None:
    old = await put(store, "k", b"x", expires=NOON + 1)
    new = await put(store, "k", b"x")

    assert not await store.touch("k", old.etag, NOON + 9)
    assert not await store.touch("k", "", NOON + 9)

    assert await store.head("k") == new


async def test_a_touch_never_outlives_a_writer(store: Store) -> None:
    """Whatever order they are committed in, the new version has the expiry it was given."""
    for turn in range(20):
        old = await put(store, "k", b"old", expires=NOON + SECOND)
        await asyncio.gather(
            *(store.touch("k", old.etag, NOON + 9 * SECOND + i) for i in range(turn % 3)),
            put(store, "k", b"new", expires=NOON + 5 * SECOND),
            *(store.touch("k", old.etag, NOON + 8 * SECOND + i) for i in range(3)),
        )

        assert (await store.head("k")).expires == NOON + 5 * SECOND


async def test_a_sweep_deletes_what_has_expired_in_bounded_batches(
    world: World, sweepable: Sweepable, clock: ManualClock
) -> None:
    for i in range(7):
        await put(world.store, f"over/{i}", LARGE if i % 2 else b"x", expires=NOON + i)
    for i in range(3):
        await put(world.store, f"alive/{i}", b"x", expires=NOON + SECOND + i)
    await put(world.store, "forever", b"x")
    clock.now = NOON + SECOND - 1

    assert [await sweepable.sweep(3) for _ in range(4)] == [3, 3, 1, 0]

    clock.now = NOON  # had they only been hidden, they would be seen again
    assert await paths(world.store) == ["alive/0", "alive/1", "alive/2", "forever"]
    assert world.strays() == set()


async def test_a_sweep_leaves_what_was_written_or_touched_since(
    world: World, sweepable: Sweepable, clock: ManualClock
) -> None:
    await put(world.store, "rewritten", LARGE, expires=NOON + SECOND)
    touched = await put(world.store, "touched", b"x", expires=NOON + SECOND)
    await put(world.store, "rewritten", b"new")
    await world.store.touch("touched", touched.etag, NOON + 9 * SECOND)
    clock.advance(1)

    assert await sweepable.sweep(10) == 0
    assert await paths(world.store) == ["rewritten", "touched"]


async def test_a_sweep_never_takes_an_object_that_is_written_meanwhile(
    world: World, sweepable: Sweepable, clock: ManualClock
) -> None:
    for _ in range(20):
        await put(world.store, "k", b"old", expires=clock.now + SECOND)
        clock.advance(1)

        await asyncio.gather(sweepable.sweep(10), put(world.store, "k", b"new"))

        assert await read(world.store, "k") == b"new"
        await world.store.delete("k")
