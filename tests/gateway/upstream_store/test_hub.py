"""A gateway behind ours: what travels between them, and what the one behind still decides."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

import pannier_gateway.codec.budget as budgeting
from pannier_gateway.codec import MemoryBudget
from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.config.model import AllowedExpiry, Limits, UsecaseConfig
from pannier_gateway.errors import (
    BadRequest,
    ExpirationRefused,
    ObjectNotFound,
    PannierError,
    PreconditionFailed,
    StoreBusy,
    StoreRefused,
    StoreUnavailable,
    TooLarge,
)
from pannier_gateway.span import Span
from pannier_gateway.stores.around import StoreAround
from pannier_gateway.stores.base import Attributes, Draft, Listing, Record, Source, Store
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.stores.upstream import UpstreamStore
from support.hostile import Wrapped
from support.hubs import USECASE, hub, upstream
from support.stores import (
    NOON,
    SECOND,
    Body,
    ManualClock,
    body_files,
    draft,
    file_store,
    paths,
    put,
    read,
    streamed,
    whole,
)

NOISE = random.Random(8650).randbytes(1_500_000)
KEY = "shared/org.1/objects/k"


@asynccontextmanager
async def behind(
    *usecases: UsecaseConfig, prefix: str = ""
) -> AsyncIterator[tuple[UpstreamStore, Store, ManualClock]]:
    """What we see, and what lies there."""
    clock = ManualClock()
    base = MemoryStore(clock)
    async with hub(base, clock, usecases or (USECASE,)) as port, upstream(port, prefix) as store:
        yield store, base, clock


async def test_objects_lie_where_the_gateway_behind_would_put_them_itself() -> None:
    async with behind() as (store, base, _):
        for path in (KEY, "shared/objects/a//b/objects/c", "shared/a.1/b.2/objects/../../x"):
            await put(store, path, path.encode())

            assert await read(base, path) == await read(store, path) == path.encode()


async def test_what_our_side_has_compressed_is_stored_as_it_is() -> None:
    attributes = Attributes(encoding="zstd", original_size=7, custom={"a": "b"})
    async with behind() as (store, base, _):
        told = await store.put(KEY, whole(b"looks like text" * 99), draft(attributes=attributes))

        assert await base.head(KEY) == await store.head(KEY) == told
        assert await read(base, KEY) == b"looks like text" * 99


async def test_what_another_gateway_reads_takes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.01)  # nobody waits seconds for a test
    base, budget = Wrapped(MemoryStore()), MemoryBudget(1 << 20)  # whose bytes are not at hand
    await put(base, KEY, NOISE)
    async with hub(base, budget=budget) as port, upstream(port) as store:
        with budget.lease() as others:
            await others.hold(1 << 20)
            with pytest.raises(StoreBusy):
                await read(store, KEY)

        assert await read(store, KEY) == NOISE
    assert budget.returned > 1 << 20


async def test_a_read_leaves_the_deadline_to_whoever_reads() -> None:
    attributes = Attributes(policy="tti", after=SECOND)
    async with behind() as (store, base, clock):
        await store.put(KEY, whole(b"x"), draft(expires=NOON + SECOND, attributes=attributes))
        clock.advance(0.9)

        await read(store, KEY)
        await store.head(KEY)

        assert (await base.head(KEY)).expires == NOON + SECOND


async def test_a_bucket_with_a_prefix_sees_what_is_below_it_alone() -> None:
    async with behind(prefix="team/") as (store, base, _):
        await put(base, "shared/objects/other", b"")
        for key in ("a", "b/1", "b/2"):
            await put(store, f"shared/objects/{key}", b"")

        assert await paths(base) == [
            "shared/objects/other",
            *(f"shared/objects/team/{key}" for key in ("a", "b/1", "b/2")),
        ]
        page = await store.list(Listing("shared/objects/", limit=2, delimiter="/"))
        assert [each.path for each in page.records] == ["shared/objects/a"]
        assert (page.prefixes, page.next) == (("shared/objects/b/",), None)
        assert await paths(store, "shared/objects/", limit=1) == [
            "shared/objects/a",
            "shared/objects/b/1",
            "shared/objects/b/2",
        ]


async def test_a_listing_begins_wherever_it_is_told_to() -> None:
    async with behind() as (store, _, __):
        await put(store, KEY, b"")
        inside = "shared/org.1/objects/"

        assert (await store.list(Listing(inside, "a"))).records
        assert not (await store.list(Listing(inside, "z"))).records


async def test_a_body_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    clock = ManualClock()
    async with file_store(tmp_path, clock) as base:
        async with hub(base, clock) as port, upstream(port) as store:
            for beginning in ([NOISE[:200_000]], []):
                with pytest.raises(OSError, match="left"):
                    await put(store, KEY, Body([*beginning, OSError("left")]))
                with pytest.raises(ObjectNotFound):
                    await base.head(KEY)

        assert body_files(tmp_path) == []


async def test_an_object_that_rots_behind_is_never_read_as_a_whole_one(tmp_path: Path) -> None:
    clock = ManualClock()
    async with (
        file_store(tmp_path, clock) as base,
        hub(base, clock) as port,
        upstream(port) as store,
    ):
        await put(store, KEY, streamed(NOISE))
        (file,) = body_files(tmp_path)
        data = bytearray(file.read_bytes())
        data[-100] ^= 1
        file.write_bytes(data)

        with pytest.raises(StoreUnavailable):
            await read(store, KEY)
        assert await read(store, KEY, Span(0, 1000)) == NOISE[:1000]


# What the gateway behind decides


async def refused(
    usecase: UsecaseConfig, attributes: Attributes, expires: int | None
) -> PannierError:
    async with behind(usecase) as (store, base, _):
        with pytest.raises(PannierError) as failed:
            await store.put(KEY, whole(b"x" * 100), draft(expires=expires, attributes=attributes))
        assert await paths(base) == []
        return failed.value


IDLE = Attributes(policy="tti", after=60 * SECOND)


@pytest.mark.parametrize(
    ("attributes", "expires"),
    [
        (Attributes(), None),
        (IDLE, None),
        (IDLE, NOON + 600 * SECOND),
        (Attributes(policy="tti", after=61 * SECOND), NOON + 61 * SECOND),
    ],
    ids=["for ever", "no deadline", "a later deadline", "too long"],
)
async def test_objects_live_no_longer_than_the_usecase_behind_allows(
    attributes: Attributes, expires: int | None
) -> None:
    allowed = (AllowedExpiry(policy="TimeToIdle", max_after=60),)

    error = await refused(replace(USECASE, allowed_expirations=allowed), attributes, expires)

    assert isinstance(error, BadRequest)
    assert ExpirationRefused.status == error.status


async def test_what_the_usecase_behind_allows_it_takes() -> None:
    allowed = (AllowedExpiry(policy="TimeToIdle", max_after=60),)
    async with behind(replace(USECASE, allowed_expirations=allowed)) as (store, base, _):
        made = draft(expires=NOON + 90 * SECOND, attributes=IDLE)  # of a clock that is ahead

        told = await store.put(KEY, whole(b"x"), made)
        assert await store.touch(KEY, told.etag, NOON + 120 * SECOND)
        with pytest.raises(BadRequest, match="clocks"):
            await store.touch(KEY, told.etag, NOON + 9000 * SECOND)

        assert (await base.head(KEY)).expires == NOON + 120 * SECOND


@pytest.mark.parametrize("at_hand", [True, False])
async def test_objects_are_no_larger_than_the_usecase_behind_allows(at_hand: bool) -> None:
    limited = replace(USECASE, limits=Limits(max_object_bytes=100))
    source = whole if at_hand else streamed
    async with behind(limited) as (store, base, _):
        with pytest.raises(TooLarge):
            await put(store, KEY, source(b"x" * 101))
        with pytest.raises(TooLarge):
            await put(store, KEY, source(NOISE))
        packed = Attributes(encoding="zstd", original_size=101)
        with pytest.raises(TooLarge):
            await store.put(KEY, source(b"x"), draft(attributes=packed))
        await put(store, KEY, source(b"x" * 100))

        assert (await base.head(KEY)).size == 100


async def test_a_usecase_that_is_suspended_behind_takes_nothing() -> None:
    async with behind(replace(USECASE, suspend="Writes")) as (store, base, _):
        for change in (
            lambda: put(store, KEY, b"x"),
            lambda: store.delete(KEY),
            lambda: store.touch(KEY, "e", 1),
        ):
            with pytest.raises(StoreUnavailable, match="takes no writes"):
                await change()
        await put(base, KEY, b"x")

        assert await read(store, KEY) == b"x"


async def test_a_usecase_that_is_not_declared_behind_is_no_missing_object() -> None:
    async with behind() as (store, _, __):
        for asking in (store.head("other/objects/k"), read(store, "other/objects/k")):
            with pytest.raises(StoreRefused):
                await asking
        with pytest.raises(StoreRefused, match="declare the usecase there too"):
            await put(store, "other/objects/k", b"x")


async def test_a_condition_that_can_never_hold_is_not_asked_about() -> None:
    async with behind() as (store, _, __):
        with pytest.raises(PreconditionFailed):
            await put(store, KEY, b"x", Conditions(if_match=()))
        await put(store, KEY, b"x", Conditions(if_none_match=()))


class AsksFirst(StoreAround):
    """Wants to know of an upload before its first byte, as those do that say it all in a head."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.told: list[Draft] = []

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        self.told.append(draft())
        return await self._store.put(path, source, draft, conditions)


@pytest.mark.parametrize("size", [0, 65_536, 65_537, 200_000, len(NOISE)])
@pytest.mark.parametrize("at_hand", [True, False])
async def test_a_store_behind_may_ask_beforehand_what_an_upload_is(
    size: int, at_hand: bool
) -> None:
    base = AsksFirst(MemoryStore())
    kept, data = Attributes(content_type="text/plain", custom={"a": "b"}), NOISE[:size]
    source = whole(data) if at_hand else streamed(data)
    async with hub(base) as port, upstream(port) as store:
        record = await store.put(KEY, source, draft(attributes=kept))

        assert (record.size, record.attributes) == (size, kept)
        assert await read(store, KEY) == data
    assert [each.attributes for each in base.told] == [kept]


@pytest.mark.parametrize("told", [-(2**62), -1, NOON + 400 * SECOND, 2**62])
async def test_an_object_from_another_time_is_not_taken(told: int) -> None:
    async with behind() as (store, base, _):
        with pytest.raises(BadRequest, match="check the clocks"):
            await store.put(KEY, whole(b"bytes"), draft(created=told))

        assert await paths(base) == []


async def test_a_deadline_beyond_all_calendars_is_not_taken() -> None:
    async with behind() as (store, base, _):
        with pytest.raises(BadRequest, match="deadline"):
            await store.put(KEY, whole(b"bytes"), draft(expires=2**62))

        assert await paths(base) == []
