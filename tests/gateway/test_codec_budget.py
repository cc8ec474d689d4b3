import asyncio
from contextlib import ExitStack

import pytest

from pannier_gateway.codec import NoRoom
from pannier_gateway.codec import budget as budgeting
from pannier_gateway.codec.budget import MemoryBudget
from support.jumps import turns


async def hold(budget: MemoryBudget, size: int, release: asyncio.Event) -> None:
    with budget.lease() as room:
        await room.hold(size)
        await release.wait()


async def test_room_is_given_back_when_the_block_ends() -> None:
    budget = MemoryBudget(10)

    with budget.lease() as room:
        await room.hold(7)
        assert budget.used == 7
        assert repr(budget) == "<MemoryBudget 7/10 bytes, 0 waiting>"
        assert repr(room) == "<Lease 7 bytes>"

    assert budget.used == 0


async def test_who_finds_no_room_waits_in_line() -> None:
    budget, release = MemoryBudget(10), asyncio.Event()
    holding = asyncio.create_task(hold(budget, 8, release))
    await turns()
    first = asyncio.create_task(hold(budget, 9, release))
    second = asyncio.create_task(hold(budget, 9, asyncio.Event()))
    await turns()
    assert repr(budget) == "<MemoryBudget 8/10 bytes, 2 waiting>"

    release.set()
    await turns()

    assert (holding.done(), first.done()) == (True, True)
    assert repr(budget) == "<MemoryBudget 9/10 bytes, 0 waiting>"
    second.cancel()
    await turns()
    assert budget.used == 0


async def test_who_finds_room_waits_for_nobody() -> None:
    budget = MemoryBudget(10)
    with budget.lease() as room, budget.lease() as small:
        await room.hold(5)
        large = asyncio.create_task(hold(budget, 10, asyncio.Event()))
        follower = asyncio.create_task(hold(budget, 6, asyncio.Event()))
        await turns()

        await small.hold(2)
        room.release()
        await turns()

        assert repr(budget) == "<MemoryBudget 8/10 bytes, 1 waiting>"
        for task in (large, follower):
            task.cancel()
        await turns()


async def test_who_waits_for_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.01)  # nobody waits three seconds for a test
    budget = MemoryBudget(10)
    with budget.lease() as room:
        await room.hold(8)

        with pytest.raises(NoRoom, match=r"3 bytes to decode with .* in 0\.01 s"):
            await hold(budget, 3, asyncio.Event())

        assert repr(budget) == "<MemoryBudget 8/10 bytes, 0 waiting>"


async def test_large_windows_leave_room_to_ordinary_ones() -> None:
    budget = MemoryBudget(16 << 20)
    with budget.lease() as large, budget.lease() as larger, budget.lease() as ordinary:
        assert large.try_hold(12 << 20)
        assert not larger.try_hold(4 << 20)

        assert ordinary.try_hold(2 << 20)


async def test_what_is_coded_leaves_room_to_what_passes() -> None:
    budget = MemoryBudget(16 << 20)
    with ExitStack() as stack:
        coded = [stack.enter_context(budget.lease()) for _ in range(15)]
        passing = stack.enter_context(budget.lease())

        assert [room.try_hold(1 << 20) for room in coded] == [True] * 14 + [False]
        assert passing.try_hold(512 << 10)


async def test_room_that_turns_out_not_to_be_needed_is_lent_on() -> None:
    budget = MemoryBudget(10)
    with budget.lease() as room, budget.lease() as other:
        await room.hold(9)
        waiting = asyncio.create_task(other.hold(5))
        await turns()

        room.shrink(5)
        await waiting

        assert (room.held, other.held, budget.returned) == (5, 5, 4)


async def test_who_asks_for_more_than_large_windows_get_has_all_of_that() -> None:
    budget = MemoryBudget(16 << 20)
    with budget.lease() as room:
        await room.hold(99 << 20)

        assert budget.used == 12 << 20


async def test_nobody_waits_while_holding_room() -> None:
    budget = MemoryBudget(10)

    with budget.lease() as one, budget.lease() as other:
        await one.hold(5)
        await other.hold(5)
        grown = asyncio.create_task(one.hold(9))
        await turns()
        assert budget.used == 5
        other.release()
        await grown
        assert budget.used == 9


async def test_room_once_had_is_kept_to_the_end() -> None:
    budget = MemoryBudget(10)

    with budget.lease() as room:
        await room.hold(7)
        await room.hold(0)
        assert room.try_hold(3)
        assert budget.used == 7


async def test_who_asks_for_more_than_there_is_gets_all() -> None:
    budget = MemoryBudget(10)

    with budget.lease() as room:
        await room.hold(99)
        assert budget.used == 10


async def test_who_will_not_wait_is_told_at_once() -> None:
    budget = MemoryBudget(10)

    with budget.lease() as one, budget.lease() as other:
        assert one.try_hold(6)
        assert one.try_hold(6)
        assert not other.try_hold(5)
        assert other.try_hold(4)
        assert not other.try_hold(5)
        assert budget.used == 10

    assert budget.used == 0


@pytest.mark.parametrize("granted_first", [False, True])
async def test_who_stops_waiting_leaves_nothing_behind(granted_first: bool) -> None:
    budget = MemoryBudget(10)
    with budget.lease() as room:
        await room.hold(10)
        leaver = asyncio.create_task(hold(budget, 10, asyncio.Event()))
        follower = asyncio.create_task(hold(budget, 3, asyncio.Event()))
        await turns()

        if granted_first:
            room.release()
        leaver.cancel()
        room.release()
        await turns()

        assert leaver.cancelled()
        assert budget.used == 3
        follower.cancel()
        await turns()
        assert budget.used == 0


async def test_a_small_one_moves_up_when_the_large_one_before_it_leaves() -> None:
    budget = MemoryBudget(10)
    with budget.lease() as room:
        await room.hold(5)
        leaver = asyncio.create_task(hold(budget, 10, asyncio.Event()))
        follower = asyncio.create_task(hold(budget, 3, asyncio.Event()))
        await turns()

        leaver.cancel()
        await turns()

        assert budget.used == 8
        follower.cancel()
        await turns()
