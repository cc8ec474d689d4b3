"""How long a connection waits for what comes next.

Nearly every wait ends long before its time is over, and a timer for each would cost more than all
else about it. So a connection has one, which is left to ring and then looks what it is waiting for.
"""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

TICK = 0.001  # seconds that the clock of a loop may be behind its own timers

T = TypeVar("T")


class Timers(Protocol):
    """What a loop has."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.TimerHandle: ...


class Limit(Generic[T]):
    """`with limit(seconds, what):` around one wait at a time; `late` hears `what` if it is over."""

    __slots__ = ("_due", "_late", "_loop", "_rings", "_timer", "_what")

    def __init__(self, loop: Timers, late: Callable[[T], None]) -> None:
        self._loop = loop
        self._late = late
        self._due = self._rings = inf
        self._timer: asyncio.TimerHandle | None = None
        self._what: T

    def __repr__(self) -> str:
        return f"<Limit at {self._due}>"

    def __call__(self, seconds: float, what: T) -> Self:
        self._due = self._loop.time() + seconds
        self._what = what
        if self._due < self._rings:
            self._wait()
        return self

    def __enter__(self) -> None:
        """The wait has begun already."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._due = inf

    def end(self) -> None:
        """There will be no more waits."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self.end()
        self._rings = self._due
        self._timer = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._rings = inf
        if self._due <= self._loop.time() + TICK:
            self._late(self._what)
        elif self._due < inf:
            self._wait()
