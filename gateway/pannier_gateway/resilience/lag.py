"""Turning work away while the event loop is late: writes first, more of them the later it is.

A hiccup turns nobody away: it counts what several looks in a row have found. Nor does a machine
that is busy with something else: the few that are under way are done soon, late as they are, and an
error would be later still.
"""

from collections import deque
from collections.abc import Callable
from random import random

LOOK_SECONDS = 0.5  # as often as the lag is sampled
LOOKS = 3
FEW = 16  # requests to a store: so many are not what keeps the loop busy
WRITES = (0.25, 1.0)  # seconds of lag from which on some, and all, are turned away
READS = (0.5, 2.0)


class LagShedder:
    """`lag` tells how late the event loop is, in seconds."""

    def __init__(self, lag: Callable[[], float], chance: Callable[[], float] = random) -> None:
        self._lag = lag
        self._chance = chance
        self._next = 0.0
        self._looks = deque([0.0] * LOOKS, LOOKS)
        self._sustained = 0.0

    def __repr__(self) -> str:
        return f"<LagShedder {self._sustained:.3f} s>"

    def refuses(self, now: float, under_way: int, *, write: bool) -> bool:
        """Whether to turn this one away, while so many are under way."""
        if now >= self._next:
            self._look(now)
        first, last = WRITES if write else READS
        if self._sustained <= first or under_way < FEW:
            return False
        return self._chance() < share(self._sustained, first, last)

    def _look(self, now: float) -> None:
        lag = self._lag()
        if now - self._next > LOOK_SECONDS + lag:  # nobody has asked for long: nothing is known
            self._looks.extend([0.0] * LOOKS)
        self._looks.append(lag)
        self._sustained = min(self._looks)
        self._next = now + LOOK_SECONDS


def share(lag: float, first: float, last: float) -> float:
    """The part to turn away: none up to `first`, all from `last` on."""
    return max(0.0, min(1.0, (lag - first) / (last - first)))
