"""Whether the process is on its way out, and when the last request has been answered."""

import asyncio

FOLLOWING_SECONDS = 0.05  # in which a request that was sent behind another one begins


class Drain:
    """Counts what is in flight; `begun` once no new connection is taken."""

    def __init__(self) -> None:
        self.begun = False
        self.in_flight = 0
        self._idle = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Drain {'begun' if self.begun else 'not begun'}, {self.in_flight} in flight>"

    def enter(self) -> None:
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        if self.begun and not self.in_flight:
            self._idle.set()

    async def finish(self, seconds: float) -> bool:
        """Wait until nothing is in flight, for `seconds` at most; whether it came to that."""
        self.begun = True
        try:
            async with asyncio.timeout(seconds):
                while self.in_flight:
                    self._idle.clear()
                    await self._idle.wait()
                    await asyncio.sleep(FOLLOWING_SECONDS)
        except TimeoutError:
            return False
        return True
