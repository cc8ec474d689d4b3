"""Blocking work in a worker thread, without leaving it behind."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_thread(pool: Executor, work: Callable[[], T]) -> T:
    """Run `work` in `pool`. A caller that is cancelled waits until it has ended.

    So what `work` uses may be closed or deleted as soon as this returns or raises.
    """
    running = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
