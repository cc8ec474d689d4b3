"""What a race came to, as text: a row for each contender, then ratios and the aim."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import Sample
from bench.race import Figure, Race

MIB = 1 << 20


def rate(sample: Sample) -> float:
    return sample.rate


def thrift(sample: Sample) -> float:
    """Operations per CPU second of the server."""
    return sample.traffic.operations / sample.server_cpu if sample.server_cpu else 0.0


COLUMNS: tuple[tuple[str, Figure, str], ...] = (
    ("ops/s", rate, ",.0f"),
    ("GB/s", lambda s: s.traffic.size / s.traffic.seconds / 1e9, ".3f"),
    ("CPU µs/op", lambda s: s.cpu_us, ",.1f"),
    ("GB/CPU s", lambda s: s.bytes_per_cpu_second / 1e9, ".2f"),
    ("p50 ms", lambda s: s.traffic.p50_us / 1e3, ",.2f"),
    ("p99 ms", lambda s: s.traffic.p99_us / 1e3, ",.2f"),
    ("RSS MiB", lambda s: s.rss / MIB, ",.0f"),
    ("server core", lambda s: s.server_cpu / s.traffic.seconds, ".0%"),
    ("sender core", lambda s: s.sender_cpu / s.traffic.seconds, ".0%"),
    ("failures", lambda s: s.traffic.failures, ",.0f"),
)


@dataclass(frozen=True, slots=True)
class Aim:
    """At least `least` times the anchor's figure."""

    least: float
    figure: Figure

    def verdict(self, reached: float) -> str:
        return f"aim {self.least:.2f}: {'reached' if reached >= self.least else 'SHORT'}"


def show(title: str, result: Race, anchor: str, aim: Aim | None = None) -> None:
    """Print the medians of all contenders, and each one's ratios to `anchor`."""
    names = list(result.samples)
    rows = [[name, *_cells(result, name)] for name in names]
    print(f"\n{title}")
    print(table([["", *(heading for heading, _, _ in COLUMNS)], *rows]))
    for name in names:
        if name != anchor:
            print(f"  {name} / {anchor}: {_ratios(result, name, anchor, aim)}", flush=True)


def _cells(result: Race, name: str) -> list[str]:
    return [format(result.median(name, figure), form) for _, figure, form in COLUMNS]


def _ratios(result: Race, name: str, anchor: str, aim: Aim | None) -> str:
    parts = []
    for label, figure in (("ops/s", rate), ("ops per CPU second", thrift)):
        ratio = result.ratio(name, anchor, figure)
        verdict = f" [{aim.verdict(ratio.middle)}]" if aim and aim.figure is figure else ""
        parts.append(f"{label} {ratio}{verdict}")
    return ", ".join(parts)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"  {first:<{widths[0]}}", *cells]))
    return "\n".join(lines)
