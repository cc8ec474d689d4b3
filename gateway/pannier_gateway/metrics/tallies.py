"""What is counted of each request and each store operation: in plain numbers, which become samples
when somebody scrapes. A request pays a microsecond for all of its metrics together.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
BOUNDS = [*map(str, SECONDS), "+Inf"]
REQUEST_LABELS = ("usecase", "operation", "status")
STORE_LABELS = ("bucket", "operation", "outcome")
SPREADS = (
    (
        "pannier_request_duration_seconds",
        "From the request's head to the last byte of its answer.",
    ),
    (
        "pannier_request_first_byte_seconds",
        "From the request's head to the first byte of its answer.",
    ),
)
COUNTS = (
    ("pannier_requests", "Requests answered."),
    ("pannier_received_bytes", "Bytes of bodies from clients."),
    ("pannier_sent_bytes", "Bytes of bodies to clients."),
)


class Spread:
    """How many values fell between the bounds, and their sum."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(BOUNDS)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(SECONDS, value)] += 1
        self.total += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        return list(zip(BOUNDS, accumulate(self.counts), strict=True))


class RequestTally:
    """What requests of one usecase, operation and class of status came to."""

    __slots__ = ("bytes_in", "bytes_out", "first_byte", "seconds")

    def __init__(self) -> None:
        self.seconds = Spread()
        self.first_byte = Spread()
        self.bytes_in = 0
        self.bytes_out = 0


class Requests(Collector):
    """Requests, by usecase, operation and class of status; the usecases are those declared."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, int], RequestTally] = {}

    def tally(self, usecase: str, operation: str, status: int) -> RequestTally:
        key = (usecase, operation, status // 100)
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = RequestTally()
        return found

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        seconds, first = (HistogramMetricFamily(*each, labels=REQUEST_LABELS) for each in SPREADS)
        requests, received, sent = (
            CounterMetricFamily(*each, labels=REQUEST_LABELS) for each in COUNTS
        )
        for (usecase, operation, status), tally in list(self._tallies.items()):
            labels = (usecase, operation, f"{status}xx")
            seconds.add_metric(labels, tally.seconds.buckets, tally.seconds.total)
            first.add_metric(labels, tally.first_byte.buckets, tally.first_byte.total)
            requests.add_metric(labels, sum(tally.seconds.counts))
            received.add_metric(labels, tally.bytes_in)
            sent.add_metric(labels, tally.bytes_out)
        yield from (seconds, first, requests, received, sent)


class StoreOperations(Collector):
    """Operations of the stores, by bucket, operation and outcome."""

    def __init__(self) -> None:
        self._spreads: dict[tuple[str, str, str], Spread] = {}

    def add(self, bucket: str, operation: str, outcome: str, seconds: float) -> None:
        key = (bucket, operation, outcome)
        found = self._spreads.get(key)
        if found is None:
            found = self._spreads[key] = Spread()
        found.add(seconds)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(
            "pannier_store_operation_duration_seconds",
            "Operations of the backing store; opening ends with the first byte at hand.",
            labels=STORE_LABELS,
        )
        for labels, spread in list(self._spreads.items()):
            family.add_metric(labels, spread.buckets, spread.total)
        yield family
