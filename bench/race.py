"""Turns: every contender runs in every round, so that a noisy minute hits all of them alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench.load import Sample

Figure = Callable[[Sample], float]


class Ratio(NamedTuple):
    """The median of a ratio taken round by round, and the rounds' extremes."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Race:
    """The rounds of each contender, in the order they were run."""

    samples: Mapping[str, list[Sample]]

    def median(self, name: str, figure: Figure) -> float:
        return median(map(figure, self.samples[name]))

    def ratio(self, name: str, anchor: str, figure: Figure) -> Ratio:
        """How many times the anchor's `figure` the contender `name` has."""
        pairs = zip(self.samples[name], self.samples[anchor], strict=True)
        ratios = [figure(ours) / figure(theirs) for ours, theirs in pairs]
        return Ratio(median(ratios), min(ratios), max(ratios))


def race(rounds: int, contenders: Mapping[str, Callable[[int], Sample]]) -> Race:
    """Let each contender run once a round; it is told the round's number, from 0."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, run in contenders.items():
            samples[name].append(run(turn))
    return Race(samples)
