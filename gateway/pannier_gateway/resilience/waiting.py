"""Waiting for one's turn: not for long, not in a crowd. Who can't be served soon is told so."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from pannier_gateway.errors import Overloaded

ROOM = 512
WRITES_PART = 0.8  # of the room: the rest is for reads
SECONDS = 1.0

Count = Callable[[str, str], None]  # read or write; why it was turned away


class Queue:
    """Two lines, of reads and of writes; reads go first. `what` is waited for, for messages."""

    def __init__(
        self, what: str, count: Count, *, seconds: float = SECONDS, room: int = ROOM
    ) -> None:
        self._what = what
        self._count = count
        self._seconds = seconds
        self._room = room
        self._reads: deque[asyncio.Future[None]] = deque()
        self._writes: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._reads) + len(self._writes)

    def __repr__(self) -> str:
        return f"<Queue {len(self._reads)} reads, {len(self._writes)} writes>"

    async def wait(self, pass_on: Callable[[], None], *, write: bool) -> None:
        """Until called. Raises Overloaded.

        `pass_on` is for a turn that came to somebody who had left by then.
        """
        kind = "write" if write else "read"
        if len(self) >= self._room * (WRITES_PART if write else 1):
            self.refuse(kind, "queue full")
        line = self._writes if write else self._reads
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(self._seconds):
                await turn
        except TimeoutError:
            if not called(turn):  # else it came at the very last moment
                leave(line, turn)
                self.refuse(kind, "waited too long")
        except asyncio.CancelledError:
            if called(turn):
                pass_on()
            leave(line, turn)
            raise

    def call(self) -> bool:
        """Let the next one in; False when nobody waits."""
        for line in (self._reads, self._writes):
            while line:
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return True
        return False

    def refuse(self, kind: str, reason: str) -> None:
        """Raises Overloaded."""
        self._count(kind, reason)
        raise Overloaded(f"the gateway has enough to do ({self._what}: {reason}): ask again")


def called(turn: asyncio.Future[None]) -> bool:
    return turn.done() and not turn.cancelled()


def leave(line: deque[asyncio.Future[None]], turn: asyncio.Future[None]) -> None:
    with suppress(ValueError):  # it has been called or passed over
        line.remove(turn)
