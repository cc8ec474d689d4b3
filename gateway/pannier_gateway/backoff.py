"""How long what has failed is left alone before it is tried again."""

from typing import NamedTuple


class Backoff(NamedTuple):
    """Seconds after the first failure, twice as many after each further one, up to the longest."""

    first: float
    longest: float

    def after(self, failures: int, chance: float = 1.0) -> float:
        """Seconds to wait when there were so many `failures` in a row before the last one.

        `chance`, from 0 to 1, takes up to half of it off, so that not all try at once.
        """
        longest = min(self.longest, self.first * 2.0 ** min(failures, 30))
        return longest * (1 + chance) / 2
