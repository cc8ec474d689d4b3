"""What bodies held goes back to the system once they are gone."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pannier_gateway import allocator
from pannier_gateway.allocator import MUCH, trim_after_bursts
from pannier_gateway.codec import MemoryBudget

MIB = 1 << 20
PIECE = 100 << 10  # small enough for the heap


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_memory_that_lies_between_what_is_in_use_goes_back_after_a_burst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocator, "LOOK_SECONDS", 0)  # nobody waits seconds for a test
    budget = MemoryBudget()
    with ThreadPoolExecutor(1) as executor:
        trimming = asyncio.create_task(trim_after_bursts(budget, executor))
        pieces = [b"\x01" * PIECE for _ in range(640)]
        full = resident()
        with budget.lease() as burst:
            await burst.hold(MUCH)
            pieces = pieces[::20]

        async with asyncio.timeout(10):
            while resident() > full - 32 * MIB:  # noqa: ASYNC110  # the system tells nobody
                await asyncio.sleep(0)

        trimming.cancel()
