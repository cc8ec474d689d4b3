"""Turns at each path: within this process nobody writes between another one's look and write.

Those that have not looked overtake nobody, and share a turn.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Hands out turns, first come, first served."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}

    def __repr__(self) -> str:
        return f"<Turns at {len(self._lines)} paths>"

    @asynccontextmanager
    async def at(self, path: str, *, shared: bool = False) -> AsyncIterator[None]:
        line = self._lines.setdefault(path, Line())
        line.count += 1
        try:
            async with line.shared() if shared else line.alone():
                yield
        finally:
            line.count -= 1
            if not line.count:
                del self._lines[path]


class Line:
    """Those who want a turn at one path, or have it: `count` of them."""

    def __init__(self) -> None:
        self.count = 0
        self._door = asyncio.Lock()
        self._sharing = 0
        self._left = asyncio.Event()
        self._left.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._door:
            await self._left.wait()
            yield

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        async with self._door:
            self._sharing += 1
            self._left.clear()
        try:
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._left.set()
