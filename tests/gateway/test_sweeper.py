import asyncio
import logging
from collections.abc import Callable
from itertools import count

import pytest

from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.stores.base import Sweepable
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.sweeper import BATCH, Sweeper
from support.stores import NOON, SECOND, ManualClock, paths, put


class Broken:
    """A store that can't be swept the first time."""

    def __init__(self) -> None:
        self.sweeps = 0

    async def sweep(self, limit: int) -> int:
        self.sweeps += 1
        if self.sweeps == 1:
            raise StoreUnavailable("not now")
        return 0


def sweeper(*stores: Sweepable, swept: Callable[[int], None] = lambda _: None) -> Sweeper:
    return Sweeper(lambda: stores, 0, swept)


async def test_a_sweep_goes_on_in_batches_until_all_that_has_expired_is_gone() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    for i in range(2 * BATCH + 1):
        await put(store, f"{i}", b"", expires=NOON + 1)
    await put(store, "alive", b"", expires=NOON + SECOND)
    clock.now = NOON + 1
    batches: list[int] = []

    await sweeper(store, swept=batches.append).sweep(store)

    assert batches == [BATCH, BATCH, 1]
    clock.now = NOON  # had they only been hidden, they would be seen again
    assert await paths(store) == ["alive"]


async def test_a_store_that_fails_is_told_of_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken()
    turns = count(1)
    done = asyncio.Event()

    class Last:
        """Comes after the broken one, each time."""

        async def sweep(self, limit: int) -> int:
            if next(turns) == 2:
                done.set()
            return 0

    with caplog.at_level(logging.WARNING):
        running = asyncio.create_task(sweeper(broken, Last()).run())
        await done.wait()
        running.cancel()
        await asyncio.wait([running])

    assert broken.sweeps == 2
    (told,) = caplog.records
    assert told.msg == "sweep failed"


async def test_the_sweeper_asks_each_time_which_stores_there_are() -> None:
    clock = ManualClock()
    stores: list[Sweepable] = []
    swept = asyncio.Event()
    running = asyncio.create_task(Sweeper(lambda: stores, 0, lambda _: swept.set()).run())
    await asyncio.sleep(0)

    late = MemoryStore(clock)
    await put(late, "k", b"", expires=NOON)
    stores.append(late)
    await swept.wait()
    running.cancel()
    await asyncio.wait([running])

    assert repr(late) == "<MemoryStore 0 objects>"
