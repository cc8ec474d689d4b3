"""What is done about stores that fail: what became of it, and what it goes by."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

COUNTERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "pannier_retries",
        "Operations of a store that were to be tried again.",
        ("bucket", "operation", "reason", "outcome"),
    ),
    (
        "pannier_resumes",
        "Downloads that broke off and were to go on.",
        ("bucket", "reason", "outcome"),
    ),
    ("pannier_hedges", "Reads that were late.", ("bucket", "operation", "outcome")),
    (
        "pannier_unreplayable_uploads",
        "Uploads that the spool could not keep.",
        ("bucket", "reason"),
    ),
    (
        "pannier_lost_answers",
        "Uploads that were looked for after their answer was lost.",
        ("bucket", "outcome"),
    ),
    ("pannier_shed_requests", "Requests turned away.", ("bucket", "kind", "reason")),
    (
        "pannier_breaker_changes",
        "Endpoints left out, probed, taken in again.",
        ("bucket", "endpoint", "change"),
    ),
)


class Resilient(Protocol):
    """What stands around the store of a bucket, as far as it is shown."""

    @property
    def coins(self) -> float: ...
    @property
    def limit(self) -> float: ...
    @property
    def in_flight(self) -> float: ...
    @property
    def waiting(self) -> float: ...
    @property
    def hedge_delay(self) -> float: ...


class ShownEndpoint(NamedTuple):
    """One endpoint of a bucket. `breaker`: 0 closed, 1 open, 2 being probed."""

    name: str
    breaker: int
    first_byte: float  # seconds, as it looks now
    in_flight: int


class ResilienceMetrics(Collector):
    """What is done about stores that fail: what became of it, and what it goes by."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._buckets: dict[str, Resilient] = {}
        self._endpoints: dict[str, Callable[[], Iterable[ShownEndpoint]]] = {}
        self._bytes: dict[str, Callable[[], float]] = {}
        self._counters = {
            name: Counter(name, told, labels, registry=registry) for name, told, labels in COUNTERS
        }
        registry.register(self)

    def watch(self, bucket: str, resilient: Resilient) -> None:
        """Show what `resilient` goes by."""
        self._buckets[bucket] = resilient

    def watch_endpoints(self, bucket: str, shown: Callable[[], Iterable[ShownEndpoint]]) -> None:
        self._endpoints[bucket] = shown

    def watch_bytes(self, place: str, size: Callable[[], float]) -> None:
        self._bytes[place] = size

    def forget(self, bucket: str) -> None:
        """The bucket is gone; what was counted stays."""
        self._buckets.pop(bucket, None)
        self._endpoints.pop(bucket, None)

    def retried(self, bucket: str, operation: str, reason: str, outcome: str) -> None:
        self._count("pannier_retries", bucket, operation, reason, outcome)

    def resumed(self, bucket: str, reason: str, outcome: str) -> None:
        self._count("pannier_resumes", bucket, reason, outcome)

    def hedged(self, bucket: str, operation: str, outcome: str) -> None:
        self._count("pannier_hedges", bucket, operation, outcome)

    def unreplayable(self, bucket: str, reason: str) -> None:
        self._count("pannier_unreplayable_uploads", bucket, reason)

    def sought(self, bucket: str, outcome: str) -> None:
        self._count("pannier_lost_answers", bucket, outcome)

    def shed(self, bucket: str, kind: str, reason: str) -> None:
        self._count("pannier_shed_requests", bucket, kind, reason)

    def breaker(self, bucket: str, endpoint: str, change: str) -> None:
        self._count("pannier_breaker_changes", bucket, endpoint, change)

    def _count(self, counter: str, *labels: str) -> None:
        self._counters[counter].labels(*labels).inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        held = GaugeMetricFamily(
            "pannier_body_bytes", "Bytes of bodies on their way, held here.", labels=["place"]
        )
        for place, size in self._bytes.items():
            held.add_metric([place], size())
        yield held
        yield from self._of_buckets()
        yield from self._of_endpoints()

    def _of_buckets(self) -> Iterator[GaugeMetricFamily]:
        of_bucket = partial(GaugeMetricFamily, labels=["bucket"])
        coins = of_bucket("pannier_retry_budget_coins", "What is left for retries.")
        limit = of_bucket("pannier_store_limit_requests", "How many may wait for a first byte.")
        in_flight = of_bucket("pannier_store_in_flight_requests", "How many wait for a first byte.")
        waiting = of_bucket("pannier_store_waiting_requests", "How many wait for their turn.")
        delay = of_bucket("pannier_hedge_delay_seconds", "How long until a read is late.")
        for bucket, shown in list(self._buckets.items()):
            coins.add_metric([bucket], shown.coins)
            limit.add_metric([bucket], shown.limit)
            in_flight.add_metric([bucket], shown.in_flight)
            waiting.add_metric([bucket], shown.waiting)
            delay.add_metric([bucket], shown.hedge_delay)
        yield from (coins, limit, in_flight, waiting, delay)

    def _of_endpoints(self) -> Iterator[GaugeMetricFamily]:
        of_endpoint = partial(GaugeMetricFamily, labels=["bucket", "endpoint"])
        breaker = of_endpoint("pannier_endpoint_breaker", "0 closed, 1 open, 2 being probed.")
        first = of_endpoint("pannier_endpoint_first_byte_seconds", "What one takes at present.")
        in_flight = of_endpoint("pannier_endpoint_in_flight_requests", "Exchanges under way.")
        for bucket, shown in list(self._endpoints.items()):
            for each in shown():
                breaker.add_metric([bucket, each.name], each.breaker)
                first.add_metric([bucket, each.name], each.first_byte)
                in_flight.add_metric([bucket, each.name], each.in_flight)
        yield from (breaker, first, in_flight)
