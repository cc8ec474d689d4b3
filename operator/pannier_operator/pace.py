"""How fast the operator may be: slower after failures, bounded in writes, silent when asked to."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from time import monotonic

from msgspec import Struct

from pannier_operator.api import ClusterError

IN_FLIGHT = 8  # requests at once, of this process


class Backoff(Struct, frozen=True):
    """Seconds to wait after the n-th failure: doubling from `first` to `longest`, jittered."""

    first: float = 1.0
    longest: float = 300.0

    def delay(self, failures: int) -> float:
        """After `failures` earlier ones; between half of the doubled time and all of it."""
        whole: float = min(self.longest, self.first * 2 ** min(failures, 30))
        return whole * random.uniform(0.5, 1.0)

    def __iter__(self) -> Iterator[float]:
        """One delay after the other, without end."""
        failures = 0
        while True:
            yield self.delay(failures)
            failures += 1


class Tokens:
    """A bucket that fills with `rate` tokens a second and holds `burst`."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = monotonic) -> None:
        self._gap = 1 / rate
        self._lead = burst / rate
        self._clock = clock
        self._next = float("-inf")

    def take(self) -> float:
        """Take a token, on credit if need be: the seconds to wait before it may be used."""
        now = self._clock()
        self._next = max(self._next, now - self._lead) + self._gap
        return max(0.0, self._next - now)


class Gate:
    """Where every request to the cluster passes: some at once, none while the server is in need.

    After 429, 5xx or silence all requests wait together, longer each time, and what was asked for
    in Retry-After at least.
    """

    def __init__(self, writes: Tokens, backoff: Backoff, clock: Callable[[], float] = monotonic):
        self._writes = writes
        self._backoff = backoff
        self._clock = clock
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._failures = 0
        self._calm_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Gate {self._failures} failures in a row>"

    @asynccontextmanager
    async def passage(self, write: bool) -> AsyncIterator[None]:
        """The time of one request; the ClusterErrors that it ends with are noted."""
        async with self._slots:
            await self._wait(write)
            began = self._clock()
            try:
                yield
            except ClusterError as error:
                self._note(error.retry_after, began)
                raise
            self._failures = 0

    async def _wait(self, write: bool) -> None:
        if write:
            await asyncio.sleep(self._writes.take())
        while (wait := self._calm_at - self._clock()) > 0:  # noqa: ASYNC110  # a time, no event
            await asyncio.sleep(wait)

    def _note(self, retry_after: float | None, began: float) -> None:
        """Requests that were under way together count as one failure."""
        if retry_after is None:
            self._failures = 0
        elif began >= self._calm_at:
            wait = max(retry_after, self._backoff.delay(self._failures))
            self._failures += 1
            self._calm_at = self._clock() + wait
