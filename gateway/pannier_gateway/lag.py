"""How late the event loop is: the first thing that goes wrong when something blocks it."""

import asyncio
from collections.abc import Callable
from time import monotonic

INTERVAL = 0.5  # seconds between samples


class LoopLag:
    """Samples the lag; `seconds` is the last one, or more while the loop is stuck."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._due = monotonic() + INTERVAL
        self._last = 0.0

    def __repr__(self) -> str:
        return f"<LoopLag {self.seconds:.3f} s>"

    @property
    def seconds(self) -> float:
        return max(self._last, monotonic() - self._due)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self._due = monotonic() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._last = max(0.0, monotonic() - self._due)
            self._observe(self._last)
