"""Every metric, declared once.

Requests and store operations are counted in plain numbers and turned into samples when somebody
scrapes: a request pays a microsecond for all of its metrics together.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from time import time
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.drain import Drain

SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
BOUNDS = [*map(str, SECONDS), "+Inf"]
REQUEST_LABELS = ("usecase", "operation", "status")
STORE_LABELS = ("bucket", "operation", "outcome")


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
        seconds = HistogramMetricFamily(
            "pannier_request_duration_seconds",
            "From the request's head to the last byte of its answer.",
            labels=REQUEST_LABELS,
        )
        first = HistogramMetricFamily(
            "pannier_request_first_byte_seconds",
            "From the request's head to the first byte of its answer.",
            labels=REQUEST_LABELS,
        )
        requests = CounterMetricFamily(
            "pannier_requests", "Requests answered.", labels=REQUEST_LABELS
        )
        received = CounterMetricFamily(
            "pannier_received_bytes", "Bytes of bodies from clients.", labels=REQUEST_LABELS
        )
        sent = CounterMetricFamily(
            "pannier_sent_bytes", "Bytes of bodies to clients.", labels=REQUEST_LABELS
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


class ConfigMetrics:
    """Which configuration is obeyed, and what became of each reload. Watches a ConfigWatch."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._info = Gauge(
            "pannier_config_info",
            "The configuration in force.",
            ["digest", "generation"],
            registry=registry,
        )
        self._reloads = Counter(
            "pannier_config_reloads", "Reloads of the configuration.", ["result"], registry=registry
        )
        for result in ("applied", "refused"):
            self._reloads.labels(result)
        self._since = time()
        Gauge(
            "pannier_config_age_seconds",
            "Since the configuration in force was taken up.",
            registry=registry,
        ).set_function(lambda: time() - self._since)

    def applied(self, config: GatewayConfig, digest: str) -> None:
        self._info.clear()
        self._info.labels(digest, str(config.generation)).set(1)
        self._reloads.labels("applied").inc()
        self._since = time()

    def refused(self, error: Exception) -> None:
        self._reloads.labels("refused").inc()


class LimitMetrics:
    """Which limits refuse requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._limited = Counter(
            "pannier_limited_requests",
            "Requests refused by a limit of their usecase.",
            ["usecase", "limit"],
            registry=registry,
        )

    def count(self, usecase: str, limit: str, more: int) -> None:
        """Count `more` refusals; 0 has the limit be seen before it refuses anybody."""
        self._limited.labels(usecase, limit).inc(more)


class CompressionMetrics:
    """What compressing saves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_usecase = partial(Counter, labelnames=["usecase"], registry=registry)
        self._input = by_usecase(
            "pannier_compression_input_bytes",
            "Bytes of bodies that the gateway compressed, before.",
        )
        self._output = by_usecase(
            "pannier_compression_output_bytes",
            "Bytes of bodies that the gateway compressed, after.",
        )

    def add(self, usecase: str, original: int, compressed: int) -> None:
        """Count one body: its bytes before and after."""
        self._input.labels(usecase).inc(original)
        self._output.labels(usecase).inc(compressed)


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


class BucketMetrics(Collector):
    """Which Buckets have a store."""

    def __init__(self) -> None:
        self._up: Callable[[], Mapping[str, bool]] = dict

    def watch(self, up: Callable[[], Mapping[str, bool]]) -> None:
        """Ask `up` from now on."""
        self._up = up

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "pannier_bucket_up", "1: its store is open; 0: requests get 503.", labels=["bucket"]
        )
        for bucket, up in self._up().items():
            family.add_metric([bucket], up)
        yield family


class PromiseMetrics(Collector):
    """What the stores of buckets were found to keep of their promises."""

    def __init__(self) -> None:
        self._found: Callable[[], Mapping[str, Mapping[str, bool]]] = dict

    def watch(self, found: Callable[[], Mapping[str, Mapping[str, bool]]]) -> None:
        """Ask `found` from now on."""
        self._found = found

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "pannier_store_promise",
            "1: the store was seen to keep it; 0: it was not.",
            labels=["bucket", "promise"],
        )
        for bucket, promises in self._found().items():
            for promise, kept in promises.items():
                family.add_metric([bucket, promise], kept)
        yield family


class ResilienceMetrics(Collector):
    """What is done about stores that fail: what became of it, and what it goes by."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._buckets: dict[str, Resilient] = {}
        self._endpoints: dict[str, Callable[[], Iterable[ShownEndpoint]]] = {}
        self._bytes: dict[str, Callable[[], float]] = {}
        counter = partial(Counter, registry=registry)
        self._retries = counter(
            "pannier_retries",
            "Operations of a store that were to be tried again.",
            ["bucket", "operation", "reason", "outcome"],
        )
        self._resumes = counter(
            "pannier_resumes",
            "Downloads that broke off and were to go on.",
            ["bucket", "reason", "outcome"],
        )
        self._hedges = counter(
            "pannier_hedges", "Reads that were late.", ["bucket", "operation", "outcome"]
        )
        self._unreplayable = counter(
            "pannier_unreplayable_uploads",
            "Uploads that the spool could not keep.",
            ["bucket", "reason"],
        )
        self._lost_answers = counter(
            "pannier_lost_answers",
            "Uploads that were looked for after their answer was lost.",
            ["bucket", "outcome"],
        )
        self._shed = counter(
            "pannier_shed_requests", "Requests turned away.", ["bucket", "kind", "reason"]
        )
        self._breakers = counter(
            "pannier_breaker_changes",
            "Endpoints left out, probed, taken in again.",
            ["bucket", "endpoint", "change"],
        )
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
        self._retries.labels(bucket, operation, reason, outcome).inc()

    def resumed(self, bucket: str, reason: str, outcome: str) -> None:
        self._resumes.labels(bucket, reason, outcome).inc()

    def hedged(self, bucket: str, operation: str, outcome: str) -> None:
        self._hedges.labels(bucket, operation, outcome).inc()

    def unreplayable(self, bucket: str, reason: str) -> None:
        self._unreplayable.labels(bucket, reason).inc()

    def sought(self, bucket: str, outcome: str) -> None:
        self._lost_answers.labels(bucket, outcome).inc()

    def shed(self, bucket: str, kind: str, reason: str) -> None:
        self._shed.labels(bucket, kind, reason).inc()

    def breaker(self, bucket: str, endpoint: str, change: str) -> None:
        self._breakers.labels(bucket, endpoint, change).inc()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        held = GaugeMetricFamily(
            "pannier_body_bytes", "Held of bodies on their way.", labels=["place"]
        )
        for place, size in self._bytes.items():
            held.add_metric([place], size())
        yield held
        yield from self._of_buckets()
        yield from self._of_endpoints()

    def _of_buckets(self) -> Iterator[GaugeMetricFamily]:
        of_bucket = partial(GaugeMetricFamily, labels=["bucket"])
        coins = of_bucket("pannier_retry_budget_coins", "Left for retries.")
        limit = of_bucket("pannier_store_limit_requests", "That a store is asked at once.")
        in_flight = of_bucket("pannier_store_in_flight_requests", "Waiting for a first byte.")
        waiting = of_bucket("pannier_store_waiting_requests", "Waiting to be asked.")
        delay = of_bucket("pannier_hedge_delay_seconds", "After which a read is late.")
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
        first = of_endpoint("pannier_endpoint_first_byte_seconds", "As it looks now.")
        in_flight = of_endpoint("pannier_endpoint_in_flight_requests", "Exchanges under way.")
        for bucket, shown in list(self._endpoints.items()):
            for each in shown():
                breaker.add_metric([bucket, each.name], each.breaker)
                first.add_metric([bucket, each.name], each.first_byte)
                in_flight.add_metric([bucket, each.name], each.in_flight)
        yield from (breaker, first, in_flight)


class ShownTrust(Protocol):
    """The certificates in force somewhere, as far as they are shown."""

    applied: int
    refused: int

    @property
    def expiries(self) -> Mapping[str, float]: ...
    @property
    def verified(self) -> bool: ...


class CertificateMetrics(Collector):
    """Until when certificates count, by who goes by them, and what became of newer ones."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_use: Mapping[str, ShownTrust] = {}
        registry.register(self)

    def watch(self, in_use: Mapping[str, ShownTrust]) -> None:
        """Show these, whatever they are when somebody scrapes."""
        self._in_use = in_use

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        expiry = GaugeMetricFamily(
            "pannier_certificate_expiry_seconds",
            "When it ends, since the epoch; of a bundle the first.",
            labels=["user", "file"],
        )
        reloads = CounterMetricFamily(
            "pannier_certificate_reloads", "Files that had changed.", labels=["user", "result"]
        )
        unverified = GaugeMetricFamily(
            "pannier_tls_unverified", "1: whoever answers is believed.", labels=["user"]
        )
        for user, trust in list(self._in_use.items()):
            for file, end in trust.expiries.items():
                expiry.add_metric([user, file], end)
            reloads.add_metric([user, "applied"], trust.applied)
            reloads.add_metric([user, "refused"], trust.refused)
            unverified.add_metric([user], float(not trust.verified))
        yield from (expiry, reloads, unverified)


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self, drain: Drain) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.requests = Requests()
        self.store_operations = StoreOperations()
        registry.register(self.requests)
        registry.register(self.store_operations)
        self.buckets = BucketMetrics()
        registry.register(self.buckets)
        self.promises = PromiseMetrics()
        registry.register(self.promises)
        self.config = ConfigMetrics(registry)
        self.limits = LimitMetrics(registry)
        Gauge(
            "pannier_requests_in_flight", "Requests being served now.", registry=registry
        ).set_function(lambda: drain.in_flight)
        self.resilience = ResilienceMetrics(registry)
        self.certificates = CertificateMetrics(registry)
        self.compression = CompressionMetrics(registry)
        self.expired = Counter(
            "pannier_expired_requests",
            "Requests for an object whose time was over.",
            ["usecase"],
            registry=registry,
        )
        self.swept = Counter(
            "pannier_swept_objects", "Expired objects deleted by the sweeper.", registry=registry
        )
        self.loop_lag = Histogram(
            "pannier_event_loop_lag_seconds",
            "How late the event loop was, sampled.",
            buckets=SECONDS,
            registry=registry,
        )
