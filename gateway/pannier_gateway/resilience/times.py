"""How long something takes at most, but for a few: over the last five minutes."""

from bisect import bisect_left

STEP = 1.1
BOUNDS = tuple(0.001 * STEP**n for n in range(118))  # seconds: a millisecond to over a minute
GENERATION_SECONDS = 150.0  # two are looked at together
ENOUGH = 30  # samples that say something: of so few it is nearly the slowest that counts
A_FEW = 8  # that say what is usual
EVERY = 64  # samples between two looks


class Times:
    """Samples of one kind. `slow` is how long `part` of all take at most, `usual` how long half of
    them do, in seconds; None until there are enough."""

    __slots__ = ("_before", "_counts", "_part", "_samples", "_turn", "slow", "usual")

    def __init__(self, part: float = 0.95) -> None:
        self.slow: float | None = None
        self.usual: float | None = None
        self._part = part
        self._before = [0] * (len(BOUNDS) + 1)
        self._counts = [0] * (len(BOUNDS) + 1)
        self._samples = 0
        self._turn = 0.0

    def __repr__(self) -> str:
        return f"<Times {self.slow} s of {self._samples}>"

    def add(self, seconds: float, now: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._samples += 1
        if self._samples % EVERY == 0 or self._samples in (A_FEW, ENOUGH):
            self._look(now)

    def _look(self, now: float) -> None:
        counts = [a + b for a, b in zip(self._before, self._counts, strict=True)]
        self.slow = quantile(counts, self._part) if sum(counts) >= ENOUGH else None
        self.usual = quantile(counts, 0.5) if sum(counts) >= A_FEW else None
        if now >= self._turn:
            self._before, self._counts = self._counts, [0] * len(self._counts)
            self._turn = now + GENERATION_SECONDS


def quantile(counts: list[int], part: float) -> float:
    """The upper bound of the step up to which `part` of all are, in seconds."""
    left = sum(counts) * part
    for bound, count in zip(BOUNDS, counts, strict=False):
        left -= count
        if left <= 0:
            return bound
    return BOUNDS[-1]
