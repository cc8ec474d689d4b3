"""Stores are opened once for all who hold them, and closed when the last has left."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import pytest

from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.stores.tenancy import OpenStores, Tenancy


class Room:
    """Stands for a store: notes that it is open, and may be lost or replaced."""

    def __init__(self) -> None:
        self.lost = False
        self.replaced = False
        self.open = True


@asynccontextmanager
async def room(*, barred: bool = False) -> AsyncIterator[Room]:
    if barred:
        raise PermissionError("no room")
    made = Room()
    yield made
    await asyncio.sleep(0)  # as any real one, it takes a while to close
    made.open = False


@contextmanager
def closing(stores: OpenStores[Room]) -> Iterator[asyncio.Task[None]]:
    running = asyncio.create_task(stores.run())
    yield running
    running.cancel()


@pytest.fixture
async def stores() -> AsyncIterator[OpenStores[Room]]:
    async with OpenStores[Room]() as made:
        with closing(made):
            yield made


async def closed(store: Room) -> bool:
    """Whether it is, after all that could close it has had its turn."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not store.open


async def test_a_store_is_shared_and_stays_open_for_the_next_configuration(
    stores: OpenStores[Room],
) -> None:
    first, second = Tenancy(stores), Tenancy(stores)
    store = await first.open("a", room)

    assert await second.open("a", room) is store
    assert await second.open("b", room) is not store
    first.end()
    assert not await closed(store)
    second.end()
    assert await closed(store)


async def test_a_store_that_nobody_names_closes_with_the_last_request(
    stores: OpenStores[Room],
) -> None:
    tenancy = Tenancy(stores)
    store = await tenancy.open("a", room)

    with tenancy:
        with tenancy:
            tenancy.end()
            assert not await closed(store)
        assert not await closed(store)
    assert await closed(store)


async def test_requests_that_leave_close_nothing_that_is_still_named(
    stores: OpenStores[Room],
) -> None:
    tenancy = Tenancy(stores)
    store = await tenancy.open("a", room)

    with tenancy:
        pass

    assert not await closed(store)


async def test_a_store_that_has_closed_is_opened_anew(stores: OpenStores[Room]) -> None:
    before = Tenancy(stores)
    old = await before.open("a", room)
    before.end()

    assert await closed(old)
    new = await Tenancy(stores).open("a", room)
    assert new is not old
    assert new.open


async def test_a_store_that_is_named_again_before_it_closed_stays_open(
    stores: OpenStores[Room],
) -> None:
    before = Tenancy(stores)
    store = await before.open("a", room)
    before.end()

    assert await Tenancy(stores).open("a", room) is store
    assert not await closed(store)


async def test_a_store_that_is_lost_is_kept_for_its_files_may_come_back(
    stores: OpenStores[Room],
) -> None:
    before, after = Tenancy(stores), Tenancy(stores)
    store = await before.open("a", room)
    store.lost = True

    assert await after.open("a", room) is store
    before.end()
    assert not await closed(store)


async def test_a_lost_store_that_nobody_holds_is_opened_anew(stores: OpenStores[Room]) -> None:
    before = Tenancy(stores)
    old = await before.open("a", room)
    old.lost = True
    before.end()

    new = await Tenancy(stores).open("a", room)
    assert new is not old
    assert (old.open, new.open) == (False, True)


async def test_a_store_that_was_replaced_closes_after_its_requests_and_only_then_makes_way(
    stores: OpenStores[Room],
) -> None:
    before = Tenancy(stores)
    old = await before.open("a", room)
    old.lost = old.replaced = True
    with before:
        with pytest.raises(StoreUnavailable, match="once nothing uses the old ones"):
            await Tenancy(stores).open("a", room)
        before.end()
        assert not await closed(old)
    assert await closed(old)

    assert await Tenancy(stores).open("a", room) is not old


async def test_a_store_that_can_not_be_opened_holds_nothing_and_may_be_tried_again(
    stores: OpenStores[Room],
) -> None:
    tenancy = Tenancy(stores)

    with pytest.raises(PermissionError):
        await tenancy.open("a", partial(room, barred=True))

    assert (await tenancy.open("a", room)).open


async def test_at_the_end_all_are_closed_even_one_that_was_just_closing() -> None:
    async with OpenStores[Room]() as stores:
        with closing(stores) as running:
            staying, leaving = Tenancy(stores), Tenancy(stores)
            kept = [await staying.open(place, room) for place in "ab"]
            left = await leaving.open("c", room)
            leaving.end()
            await asyncio.sleep(0)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    assert [each.open for each in (*kept, left)] == [False] * 3


async def test_two_who_ask_at_once_get_the_same(stores: OpenStores[Room]) -> None:
    asked = [partial(Tenancy(stores).open, "a", room) for _ in range(3)]

    got = await asyncio.gather(*(ask() for ask in asked))

    assert got[0] is got[1] is got[2]
