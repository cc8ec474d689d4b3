"""How much memory the bodies of all requests may hold together, on their way in and out.

Each holds some for as long as its client takes, and clients may take their time. A decoder keeps
as much of the past as its frame's window says, too: up to 8 MiB. So nobody waits for long, or
while holding room, and who asks for more leaves more to those who ask for less.
"""

from __future__ import annotations

import asyncio

from pannier_gateway.codec.errors import NoRoom

DEFAULT_TOTAL = 56 << 20  # on top of some 60 MiB that an idle gateway takes: 128 are the promise
WAIT_SECONDS = 3.0  # in which gigabytes pass: who holds room for longer has a slow client
PASSING = 512 << 10  # a body that is not touched, on its way in; going out, it takes less
ORDINARY = 3328 << 10  # a body, and a window of up to 2 MiB: what zstd's level 3 asks for


class MemoryBudget:
    """`total` bytes, an eighth of them out of reach for who asks for more than PASSING at once, a
    quarter for who asks for more than ORDINARY.

    Lent in the order they were asked for, except that nobody waits for those who need more.
    """

    def __init__(self, total: int = DEFAULT_TOTAL) -> None:
        self.total = total
        self.used = 0
        self.returned = 0  # bytes given back so far
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def lease(self) -> Lease:
        """Room for one body, given back when the `with` block ends."""
        return Lease(self)

    def most(self, size: int) -> int:
        """How much may be lent once `size` bytes more are."""
        if size <= PASSING:
            return self.total
        return self.total - self.total // (8 if size <= ORDINARY else 4)

    def try_take(self, size: int, held: int = 0) -> bool:
        """Takes `size` bytes, in place of those `held`, if they are free."""
        used = self.used - held + size
        if used > self.most(size):
            return False
        self.used = used
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
        self.returned += size
        waiting, self._waiting = self._waiting, []
        for wanted, granted in waiting:
            if granted.cancelled():
                continue
            if self.try_take(wanted):
                granted.set_result(None)
            else:
                self._waiting.append((wanted, granted))

    def __repr__(self) -> str:
        return f"<MemoryBudget {self.used}/{self.total} bytes, {len(self._waiting)} waiting>"


class Lease:
    """The room one body holds: as much as it has needed at once so far."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.held = 0

    async def hold(self, size: int) -> None:
        """Holds `size` bytes at least, or all that there is for so many. Raises NoRoom."""
        size = min(size, self._budget.most(size))
        if not self.try_hold(size):
            self.release()
            await self._budget.take(size)
            self.held = size

    def try_hold(self, size: int) -> bool:
        """Like `hold`, without waiting: whether there was room. What is held already stays so."""
        if size > self.held:
            if not self._budget.try_take(size, self.held):
                return False
            self.held = size
        return True

    def shrink(self, size: int) -> None:
        """Gives back all but `size` bytes."""
        self._budget.give_back(max(0, self.held - size))
        self.held = min(size, self.held)

    def release(self) -> None:
        self.shrink(0)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Lease {self.held} bytes>"
