"""How long a bucket takes to its first byte: the 95th of a hundred, over the last five minutes."""

from bisect import bisect_left

STEP = 1.1
BOUNDS = tuple(0.001 * STEP**n for n in range(118))  # seconds: a millisecond to over a minute
GENERATION_SECONDS = 150.0  # two are looked at together
ENOUGH = 100  # samples that say something about the 95th of a hundred
EVERY = 64  # samples between two looks


class FirstBytes:
    """Samples of one kind of operation. `slow` is how long 95 of a hundred take at most, in
    seconds; None until there are enough."""

    __slots__ = ("_before", "_counts", "_samples", "_turn", "slow")

    def __init__(self) -> None:
        self.slow: float | None = None
        self._before = [0] * (len(BOUNDS) + 1)
        self._counts = [0] * (len(BOUNDS) + 1)
        self._samples = 0
        self._turn = 0.0

    def __repr__(self) -> str:
        return f"<FirstBytes {self.slow} s of {self._samples}>"

    def add(self, seconds: float, now: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._samples += 1
        if self._samples % EVERY == 0 or self._samples == ENOUGH:
            self._look(now)

    def _look(self, now: float) -> None:
        counts = [a + b for a, b in zip(self._before, self._counts, strict=True)]
        self.slow = ninety_fifth(counts) if sum(counts) >= ENOUGH else None
        if now >= self._turn:
            self._before, self._counts = self._counts, [0] * len(self._counts)
            self._turn = now + GENERATION_SECONDS


def ninety_fifth(counts: list[int]) -> float:
    """The upper bound of the step that the 95th of a hundred is in, in seconds."""
    left = sum(counts) * 0.95
    for bound, count in zip(BOUNDS, counts, strict=False):
        left -= count
        if left <= 0:
            return bound
    return BOUNDS[-1]
