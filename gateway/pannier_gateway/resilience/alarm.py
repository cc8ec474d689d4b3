"""One timer for many who wait, most of whom are answered before it rings."""

import asyncio
from bisect import insort
from collections import deque
from math import inf
from operator import itemgetter
from time import monotonic
from typing import Protocol

LOOP_LATE = 0.01  # seconds that a timer may be late before it is the loop that was late


class Late(Protocol):
    """Somebody whose time may be over; `postponed`: it was, and there is little to spend."""

    settled: bool
    postponed: bool

    def ring(self) -> None: ...


class Watching(Protocol):
    """An Alarm, or what a test has in its place."""

    def watch(self, late: Late, now: float, seconds: float) -> None: ...


class Alarm:
    """For all who wait equally long, or nearly so.

    Where the loop was late, the answers may be there: they are read before anybody is rung for.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Late]] = deque()
        self._rings = inf  # when the timer does
        self._timer: asyncio.TimerHandle | None = None
        self._looks_again = False

    def __repr__(self) -> str:
        return f"<Alarm for {len(self._waiting)}>"

    def watch(self, late: Late, now: float, seconds: float) -> None:
        """Have `late` rung in so many seconds, unless it has settled by then."""
        waiting, due = self._waiting, now + seconds
        while waiting and waiting[0][1].settled:  # most have by the time that the next one comes
            waiting.popleft()
        if waiting and due < waiting[-1][0]:  # the delay has become shorter
            insort(waiting, (due, late), key=itemgetter(0))
        else:
            waiting.append((due, late))
        if due < self._rings:
            self._wait(due, seconds)

    def _ring(self) -> None:
        self._rings, now, waiting = inf, monotonic(), self._waiting
        loop_late = bool(waiting) and now - waiting[0][0] > LOOP_LATE
        self._looks_again = loop_late and not self._looks_again
        if self._looks_again:
            self._wait(now, LOOP_LATE / 10)  # not 0: what has come is read before that
            return
        while waiting and (waiting[0][0] <= now or waiting[0][1].settled):
            _, late = waiting.popleft()
            if not late.settled:
                late.ring()
        if waiting:
            self._wait(waiting[0][0], waiting[0][0] - now)

    def _wait(self, due: float, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = due
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)
