"""How much a store can take at once, told from how its time to the first byte changes: pure.

After Netflix's concurrency-limits and Envoy: as long as answers come as fast as they usually do,
the limit grows by its root; where they become slower, it shrinks in proportion.
"""

from math import sqrt

LEAST, MOST, FIRST = 16, 512, 64
SAMPLES = 50  # between two looks
TOLERANCE = 2.0  # times as slow as usual that is no reason to shrink
STEEPEST = 0.5
WEIGHT = 0.2  # of a new limit beside the old
FASTER, SLOWER = 0.5, 0.02  # how quickly "usual" follows what is faster, and what is slower
BACKOFF = 0.9  # what a refusal or a silence leaves of the limit
BACKOFF_SECONDS = 1.0  # at most so often


class Gradient:
    """`limit` is how many may wait for a first byte at once."""

    __slots__ = ("_backed_off", "_busiest", "_count", "_limit", "_sum", "_usual", "limit")

    def __init__(self) -> None:
        self.limit = FIRST
        self._limit = float(FIRST)
        self._usual: float | None = None  # seconds
        self._sum = 0.0
        self._count = 0
        self._busiest = 0
        self._backed_off = float("-inf")

    def __repr__(self) -> str:
        return f"<Gradient {self.limit}, usually {self._usual} s>"

    def answered(self, seconds: float, in_flight: int) -> None:
        """A first byte came after so long, while so many were waiting for theirs."""
        self._sum += seconds
        self._count += 1
        self._busiest = max(self._busiest, in_flight)
        if self._count == SAMPLES:
            self._look(self._sum / SAMPLES)
            self._sum, self._count, self._busiest = 0.0, 0, 0

    def refused(self, now: float) -> None:
        """The store said that it is too much, or nothing at all."""
        if now - self._backed_off >= BACKOFF_SECONDS:
            self._backed_off = now
            self._set(self._limit * BACKOFF)

    def _look(self, lately: float) -> None:
        usual = lately if self._usual is None else self._usual
        self._usual = usual + (lately - usual) * (FASTER if lately < usual else SLOWER)
        gradient = max(STEEPEST, min(1.0, TOLERANCE * usual / lately)) if lately > 0 else 1.0
        wanted = self._limit * gradient + sqrt(self._limit)
        idle = self._busiest < self._limit / 2  # nobody knows what it could take beyond
        if wanted < self._limit or not idle:
            self._set(self._limit + (wanted - self._limit) * WEIGHT)

    def _set(self, limit: float) -> None:
        self._limit = max(float(LEAST), min(float(MOST), limit))
        self.limit = int(self._limit)
