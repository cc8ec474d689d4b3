"""Blocking work in a worker thread is never left behind by whoever waits for it."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from pannier_gateway.threads import in_thread
from support.jumps import turns


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Work:
    """Begins in its thread and ends when it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.may_end.wait(10)
        self.ended = True
        return "done"


async def test_work_returns_what_it_made(pool: Executor) -> None:
    work = Work()
    work.may_end.set()

    assert await in_thread(pool, work) == "done"


async def test_what_work_raises_is_raised(pool: Executor) -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(pool, lambda: 1 // 0)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_caller_cancelled_however_often_waits_until_the_work_has_ended(
    pool: Executor, times: int
) -> None:
    work = Work()
    caller = asyncio.create_task(in_thread(pool, work))
    await turns()

    for _ in range(times):
        caller.cancel()
        await turns()
    waiting = not caller.done()
    work.may_end.set()
    await asyncio.wait([caller])

    assert waiting
    assert work.ended
    assert caller.cancelled()


async def test_a_cancelled_caller_hears_nothing_of_work_that_fails(pool: Executor) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        may_end.wait(10)
        raise ValueError

    caller = asyncio.create_task(in_thread(pool, fail))
    await turns()
    caller.cancel()
    may_end.set()
    await asyncio.wait([caller])

    assert caller.cancelled()
