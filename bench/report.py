"""What a race came to, as text: a row for each contender, then ratios and the aim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from bench.load import Sample
from bench.race import Figure, Race
from bench.settings import MIB


def rate(sample: Sample) -> float:
    return sample.rate


def thrift(sample: Sample) -> float:
    """Operations per CPU second of the server."""
    return sample.traffic.operations / sample.server_cpu if sample.server_cpu else 0.0


def p50(sample: Sample) -> float:
    return sample.traffic.p50_us


def p99(sample: Sample) -> float:
    return sample.traffic.p99_us


def cpu(sample: Sample) -> float:
    return sample.cpu_us


def ease(sample: Sample) -> float:
    """Operations per CPU second of the sender."""
    return sample.traffic.operations / sample.sender_cpu if sample.sender_cpu else 0.0


def outlay(sample: Sample) -> float:
    """CPU seconds of caller and server together, per operation."""
    return (sample.sender_cpu + sample.server_cpu) / max(sample.traffic.operations, 1)


COLUMNS: tuple[tuple[str, Figure, str], ...] = (
    ("ops/s", rate, ",.0f"),
    ("GB/s", lambda s: s.traffic.size / s.traffic.seconds / 1e9, ".3f"),
    ("CPU µs/op", lambda s: s.cpu_us, ",.1f"),
    ("GB/CPU s", lambda s: s.bytes_per_cpu_second / 1e9, ".2f"),
    ("p50 ms", lambda s: p50(s) / 1e3, ",.3f"),
    ("p99 ms", lambda s: p99(s) / 1e3, ",.2f"),
    ("RSS MiB", lambda s: s.rss / MIB, ",.0f"),
    ("server core", lambda s: s.server_cpu / s.traffic.seconds, ".0%"),
    ("sender µs/op", lambda s: s.sender_cpu / max(s.traffic.operations, 1) * 1e6, ",.1f"),
    ("failures", lambda s: s.traffic.failures, ",.0f"),
)
NAMES: Mapping[Figure, str] = {
    rate: "ops/s",
    thrift: "ops per CPU second",
    ease: "ops per CPU second of the caller",
    p50: "p50",
    p99: "p99",
    cpu: "CPU per op",
    outlay: "CPU per op in all",
}
SPEED = (rate, thrift)
COST = (p50, cpu)
CALLER = (rate, ease)
WHOLE = (outlay, p50, p99)


@dataclass(frozen=True, slots=True)
class Aim:
    """How one `figure` should compare with the anchor's: at least, or at most, so many times it.

    It holds for the contender called `name`, for all of them where that is empty.
    """

    figure: Figure
    least: float = 0.0
    most: float = inf
    name: str = ""

    def __str__(self) -> str:
        return f"at least {self.least}" if self.least else f"at most {self.most}"

    def verdict(self, reached: float) -> str:
        return f"aim {self}: {'reached' if self.least <= reached <= self.most else 'MISSED'}"


def show(
    title: str, result: Race, anchor: str, *aims: Aim, figures: Sequence[Figure] = SPEED
) -> None:
    """Print the medians of all contenders, and the ratios of their `figures` to the anchor's."""
    names = list(result.samples)
    rows = [[name, *_cells(result, name)] for name in names]
    print(f"\n{title}")
    print(table([["", *(heading for heading, _, _ in COLUMNS)], *rows]))
    for name in names:
        if name != anchor:
            ratios = [_ratio(result, name, anchor, figure, aims) for figure in figures]
            print(f"  {name} / {anchor}: {', '.join(ratios)}", flush=True)


def _cells(result: Race, name: str) -> list[str]:
    return [format(result.median(name, figure), form) for _, figure, form in COLUMNS]


def _ratio(result: Race, name: str, anchor: str, figure: Figure, aims: Sequence[Aim]) -> str:
    ratio = result.ratio(name, anchor, figure)
    own = [aim for aim in aims if aim.figure is figure and aim.name in ("", name)]
    verdicts = [f" [{aim.verdict(ratio.middle)}]" for aim in own]
    return f"{NAMES[figure]} {ratio}{''.join(verdicts)}"


def limit(what: str, reached: float, most: float, unit: str) -> str:
    """A figure that is not to be above `most`, whatever others reach."""
    verdict = "reached" if reached <= most else "MISSED"
    return f"{what} {reached:,.2f} {unit} [aim at most {most:g}: {verdict}]"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"  {first:<{widths[0]}}", *cells]))
    return "\n".join(lines)
