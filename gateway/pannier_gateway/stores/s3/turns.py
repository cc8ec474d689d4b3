"""One at a time for each path: within this process nobody overtakes who looks and then writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Hands out turns, first come, first served."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}  # and how many want it or have it

    def __repr__(self) -> str:
        return f"<Turns at {len(self._locks)} paths>"

    @asynccontextmanager
    async def at(self, path: str) -> AsyncIterator[None]:
        lock, count = self._locks.get(path, (asyncio.Lock(), 0))
        self._locks[path] = (lock, count + 1)
        try:
            async with lock:
                yield
        finally:
            lock, count = self._locks.pop(path)
            if count > 1:
                self._locks[path] = (lock, count - 1)
