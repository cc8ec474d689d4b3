"""docs/resilience.md says what the code does."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from pannier_gateway.api import connection
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience import (
    balance,
    breaker,
    budget,
    concurrency,
    gradient,
    lag,
    late,
    shared,
    spool,
    stack,
    standing,
    waiting,
)
from pannier_gateway.resilience.hedging import HedgePolicy
from pannier_gateway.resilience.resume import ResumePolicy
from pannier_gateway.resilience.retry import RetryPolicy
from pannier_gateway.resilience.spool import SpoolLimits
from pannier_gateway.resilience.stalls import StallPolicy
from pannier_gateway.stores.s3.multipart import FIRST_PARTS, MOST_PARTS, part_size

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "resilience.md").read_text()
CODE = "".join(
    path.read_text() for path in (ROOT / "gateway/pannier_gateway/resilience").glob("*.py")
)
MIB = 1 << 20

RETRY, RESUME, HEDGE, SPOOL = RetryPolicy(), ResumePolicy(), HedgePolicy(), SpoolLimits()
STALL = StallPolicy()
DEFAULTS = [
    *(RETRY.attempts, RETRY.base, RETRY.cut_base, RETRY.cap),
    *(RETRY.busy_base, RETRY.busy_cap),
    *(RETRY.longest_wait, RETRY.deadline),
    *(budget.CAPACITY, budget.COSTS["transient"], budget.COSTS["busy"]),
    *(100 * budget.RATIO, budget.FLOOR / budget.WINDOW_SECONDS),
    *(stack.MORE_FOR_STREAMS, RESUME.attempts, RESUME.progress / 1024),
    *(RESUME.base, RESUME.cap, RESUME.patience),
    *(HEDGE.floor, HEDGE.times, HEDGE.unknown, HEDGE.unknown_large, 100 * HEDGE.share, HEDGE.burst),
    *(STALL.times, STALL.floor, STALL.unknown, 100 * STALL.share),
    late.GHOST_SECONDS,
    *(SPOOL.memory_each / MIB, SPOOL.memory / MIB, SPOOL.disk_each / MIB, SPOOL.disk / MIB),
    *(shared.PARTS.memory / MIB, shared.PARTS.disk / MIB),
    concurrency.BODIES / MIB,
    *(gradient.FIRST, gradient.LEAST, gradient.MOST),
    *(waiting.ROOM, waiting.SECONDS, lag.WRITES[0], lag.READS[0]),
    *(lag.LOOKS, lag.FEW),
    *(breaker.IN_A_ROW, 100 * breaker.RATE, breaker.FIRST_SECONDS, breaker.MOST_SECONDS),
    100 * balance.TRICKLE,
    *(standing.SILENT_SECONDS, breaker.STALE_SECONDS, standing.SWALLOWED, standing.WAITED_SECONDS),
]


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the section's table, without its head."""
    lines = re.findall(r"^\| (.*) \|$", section(title), re.MULTILINE)
    return [[cell.strip() for cell in line.split(" |")] for line in lines[1:]]


def test_defaults_are_those_of_the_code() -> None:
    documented = [float(row[1]) for row in rows("Defaults")]

    assert documented == [float(each) for each in DEFAULTS]


def test_a_part_may_take_all_that_there_is_on_disk() -> None:
    assert shared.PARTS.disk_each == shared.PARTS.disk == SPOOL.disk
    assert shared.PARTS.memory_each == FIRST_PARTS


def test_how_much_goes_in_parts_is_told() -> None:
    sizes = map(part_size, range(1, MOST_PARTS + 1))
    kept = sum(size for size in sizes if size <= shared.PARTS.disk_each)

    assert f"to {kept >> 30} GiB." in PAGE


def test_what_is_held_of_many_uploads_is_told() -> None:
    assert connection.FEW == spool.FEW
    assert f"where more than {spool.FEW} are under way" in PAGE
    assert f"{SPOOL.batch >> 10} KiB gather" in PAGE


def test_streams_wait_alike_in_both_directions() -> None:
    upload = stack.streamed(RETRY.attempts)

    assert (upload.base, upload.cap) == (RESUME.base, RESUME.cap)


def test_metrics_are_documented_all_and_no_others() -> None:
    registry = CollectorRegistry()
    metrics = ResilienceMetrics(registry)
    metrics.watch_bytes("memory", lambda: 0.0)
    shown = {f"{e.name}_total" if e.type == "counter" else e.name for e in registry.collect()}

    assert {row[0].strip("`") for row in rows("Metrics")} == shown


def test_values_of_labels_are_those_of_the_code() -> None:
    quoted = {value for row in rows("Metrics") for value in re.findall(r"`([a-z ]+)`", row[2])}

    assert quoted == {value for value in quoted if f'"{value}"' in CODE}
    assert len(quoted) > 20
