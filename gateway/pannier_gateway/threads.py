"""Blocking work in a worker thread, without leaving it behind."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_thread(pool: Executor, work: Callable[[], T]) -> T:
    """Run `work` in `pool`. A caller that is cancelled, however often, waits until it has ended.

    So what `work` uses may be closed or deleted as soon as this returns or raises.
    """
    return await to_the_end(asyncio.get_running_loop().run_in_executor(pool, work))


async def to_the_end(running: asyncio.Future[T]) -> T:
    """What `running` comes to. A caller that is cancelled waits for it all the same."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        running.exception()  # seen, and of no interest to a caller who has left
        raise cancelled
    return running.result()
