"""How much memory the decoders of all requests may hold together.

A decoder keeps as much of the past as its frame's window says: a stream of 8 MiB windows holds
some 8 MiB for as long as its reader takes. Nobody waits for room while holding some, so that
waiting always ends.
"""

from __future__ import annotations

import asyncio
from collections import deque

DEFAULT_TOTAL = 64 << 20


class DecoderBudget:
    """`total` bytes, lent in the order they were asked for."""

    def __init__(self, total: int = DEFAULT_TOTAL) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def lease(self) -> Lease:
        """Room for one decoder, given back when the `with` block ends."""
        return Lease(self)

    def try_take(self, size: int) -> bool:
        """Takes `size` bytes if they are free and nobody waits."""
        if self._waiting or self.used + size > self.total:
            return False
        self.used += size
        return True

    async def take(self, size: int) -> None:
        """Takes `size` bytes, waiting for them if need be."""
        if self.try_take(size):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            self.give_back(0 if granted.cancelled() else size)
            raise

    def give_back(self, size: int) -> None:
        """Returns what was taken, and lends it on to whoever waits."""
        self.used -= size
        while self._waiting and self._next_can_go():
            wanted, granted = self._waiting.popleft()
            if not granted.cancelled():
                self.used += wanted
                granted.set_result(None)

    def _next_can_go(self) -> bool:
        wanted, granted = self._waiting[0]
        return granted.cancelled() or self.used + wanted <= self.total

    def __repr__(self) -> str:
        return f"<DecoderBudget {self.used}/{self.total} bytes, {len(self._waiting)} waiting>"


class Lease:
    """The room one decoder holds; it changes from frame to frame."""

    def __init__(self, budget: DecoderBudget) -> None:
        self._budget = budget
        self.held = 0

    async def hold(self, size: int) -> None:
        """Holds `size` bytes (the whole budget if that is less) in place of what was held."""
        size = min(size, self._budget.total)
        if size == self.held:
            return
        self.release()
        if size:
            await self._budget.take(size)
            self.held = size

    def try_hold(self, size: int) -> bool:
        """Like `hold`, without waiting: whether there was room."""
        if size == self.held:
            return True
        self.release()
        if self._budget.try_take(size):
            self.held = size
        return self.held == size

    def release(self) -> None:
        self._budget.give_back(self.held)
        self.held = 0

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lease {self.held} bytes>"
