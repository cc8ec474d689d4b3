"""How much memory the decoders of all requests may hold together.

A decoder keeps as much of the past as its frame's window says: a stream of 8 MiB windows holds
some 8 MiB for as long as its reader takes, and readers may take their time. So nobody waits for
long, or while holding room, and large windows leave some of it to those of ordinary size.
"""

from __future__ import annotations

import asyncio

from pannier_gateway.codec.errors import NoRoom

DEFAULT_TOTAL = 64 << 20
WAIT_SECONDS = 3.0  # in which zstd decodes gigabytes: who holds room for longer is a slow reader
ORDINARY = 3 << 20  # windows of up to 2 MiB and their buffers: what zstd's level 3 asks for


class DecoderBudget:
    """`total` bytes, a quarter of them out of reach for who asks for more than ORDINARY.

    Lent in the order they were asked for, except that nobody waits for those who need more.
    """

    def __init__(self, total: int = DEFAULT_TOTAL) -> None:
        self.total = total
        self.used = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def lease(self) -> Lease:
        """Room for one decoder, given back when the `with` block ends."""
        return Lease(self)

    def most(self, size: int) -> int:
        """How much may be lent once `size` bytes more are."""
        return self.total if size <= ORDINARY else self.total - self.total // 4

    def try_take(self, size: int) -> bool:
        """Takes `size` bytes if they are free."""
        if self.used + size > self.most(size):
            return False
        self.used += size
        return True

    async def take(self, size: int) -> None:
        """Takes `size` bytes, waiting for them up to WAIT_SECONDS. Raises NoRoom."""
        if self.try_take(size):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await granted
        except BaseException as error:
            self.give_back(0 if granted.cancelled() else size)
            if isinstance(error, TimeoutError):
                raise NoRoom(size, WAIT_SECONDS) from error
            raise

    def give_back(self, size: int) -> None:
        """Returns what was taken, and lends it on to those who wait and whom it suffices."""
        self.used -= size
        waiting, self._waiting = self._waiting, []
        for wanted, granted in waiting:
            if granted.cancelled():
                continue
            if self.try_take(wanted):
                granted.set_result(None)
            else:
                self._waiting.append((wanted, granted))

    def __repr__(self) -> str:
        return f"<DecoderBudget {self.used}/{self.total} bytes, {len(self._waiting)} waiting>"


class Lease:
    """The room one decoder holds: as much as its largest frame so far has needed."""

    def __init__(self, budget: DecoderBudget) -> None:
        self._budget = budget
        self.held = 0

    async def hold(self, size: int) -> None:
        """Holds `size` bytes at least, or all that there is for so many. Raises NoRoom."""
        size = min(size, self._budget.most(size))
        if size > self.held:
            self.release()
            await self._budget.take(size)
            self.held = size

    def try_hold(self, size: int) -> bool:
        """Like `hold`, without waiting: whether there was room."""
        if size > self.held:
            self.release()
            if self._budget.try_take(size):
                self.held = size
        return self.held >= size

    def release(self) -> None:
        self._budget.give_back(self.held)
        self.held = 0

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lease {self.held} bytes>"
