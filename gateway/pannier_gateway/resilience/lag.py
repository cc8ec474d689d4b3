"""Turning work away while the event loop is late: writes first, more of them the later it is.

A single hiccup turns nobody away: it counts what two looks in a row have found.
"""

from collections.abc import Callable
from random import random

LOOK_SECONDS = 0.5  # as often as the lag is sampled
WRITES = (0.1, 0.5)  # seconds of lag from which on some, and all, are turned away
READS = (0.5, 2.0)


class LagShedder:
    """`lag` tells how late the event loop is, in seconds."""

    def __init__(self, lag: Callable[[], float], chance: Callable[[], float] = random) -> None:
        self._lag = lag
        self._chance = chance
        self._next = 0.0
        self._before = 0.0
        self._sustained = 0.0

    def __repr__(self) -> str:
        return f"<LagShedder {self._sustained:.3f} s>"

    def refuses(self, now: float, *, write: bool) -> bool:
        """Whether to turn this one away."""
        if now >= self._next:
            self._look(now)
        first, last = WRITES if write else READS
        return self._sustained > first and self._chance() < share(self._sustained, first, last)

    def _look(self, now: float) -> None:
        lag = self._lag()
        self._sustained, self._before = min(lag, self._before), lag
        self._next = now + LOOK_SECONDS


def share(lag: float, first: float, last: float) -> float:
    """The part to turn away: none up to `first`, all from `last` on."""
    return max(0.0, min(1.0, (lag - first) / (last - first)))
