"""How the C library hands out memory for bodies in flight, and gives it back after a burst.

By default every block above 128 KiB is mapped anew and zeroed by the kernel, page by page, and
every thread keeps a heap of its own: streamed uploads spend a fifth of their time on page faults.
So freed blocks are kept, and from time to time those that lie between others are let go.
"""

import asyncio
import ctypes
from concurrent.futures import Executor
from contextlib import suppress
from typing import Protocol

from pannier_gateway.threads import in_thread

MIB = 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h in the GNU C library
LOOK_SECONDS = 2.0
MUCH = 8 * MIB  # less than that is not worth a look at every page


class Lent(Protocol):
    """Bytes that bodies hold now, and those that they have given back so far."""

    used: int
    returned: int


def keep_buffers() -> None:
    """Let freed buffers of up to a megabyte be used again; other C libraries are left alone."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, MIB)
        mallopt(M_TRIM_THRESHOLD, 4 * MIB)


def trim() -> None:
    """Give the system back what is free, wherever it lies. Takes some 20 ms for 64 MiB, in which
    nobody else gets any."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


async def trim_after_bursts(lent: Lent, executor: Executor) -> None:
    """Trim whenever much of what was lent has come back, and little is lent: nobody is held up."""
    seen = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if lent.used < MUCH <= lent.returned - seen:
            seen = lent.returned
            await in_thread(executor, trim)
