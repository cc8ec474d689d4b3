"""Every metric of the operator, declared once."""

from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pannier_operator.queue import Queue
from pannier_operator.registry import of_this_process

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Request:
    """A request under way; `code` is the status that it is answered with."""

    def __init__(self) -> None:
        self.code = "none"


class ApiMetrics:
    """Requests to the API server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "pannier_operator_api_requests",
            "Requests to the API server; code none: it gave no answer.",
            ["verb", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "pannier_operator_api_request_duration_seconds",
            "Requests to the API server.",
            ["verb"],
            buckets=SECONDS,
            registry=registry,
        )

    @contextmanager
    def request(self, verb: str) -> Iterator[Request]:
        """The time of one request."""
        began, request = monotonic(), Request()
        try:
            yield request
        finally:
            self._requests.labels(verb, request.code).inc()
            self._seconds.labels(verb).observe(monotonic() - began)


class Usecases(Collector):
    """Usecases by what `Ready` says of them, and the size of each namespace's configuration."""

    def __init__(self) -> None:
        self._ready: dict[str, Tally[tuple[str, str]]] = {}
        self._bytes: dict[str, int] = {}

    def told(self, namespace: str, ready: Tally[tuple[str, str]], size: int) -> None:
        """Of `namespace`: how many usecases by status and reason of `Ready`; bytes published."""
        if ready or size:
            self._ready[namespace], self._bytes[namespace] = ready, size
        else:
            self._ready.pop(namespace, None)
            self._bytes.pop(namespace, None)

    def namespaces(self) -> set[str]:
        """Those of which there is something to show."""
        return set(self._ready)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        usecases = GaugeMetricFamily(
            "pannier_operator_usecases",
            "Usecases, by status and reason of their condition Ready.",
            labels=("ready", "reason"),
        )
        total: Tally[tuple[str, str]] = Tally()
        for ready in self._ready.values():
            total.update(ready)
        for labels, count in total.items():
            usecases.add_metric(labels, count)
        size = GaugeMetricFamily(
            "pannier_operator_config_bytes",
            "Size of a namespace's published configuration; beyond 921,600 a change is refused.",
            labels=("namespace",),
        )
        for namespace, count in self._bytes.items():
            size.add_metric([namespace], count)
        yield from (usecases, size)


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = of_this_process()
        self.api = ApiMetrics(registry)
        self.usecases = Usecases()
        registry.register(self.usecases)
        self.reconciles = _reconciles(registry)
        self.reconcile_seconds = Histogram(
            "pannier_operator_reconcile_duration_seconds",
            "One namespace: listed, rendered, written where it differs.",
            buckets=SECONDS,
            registry=registry,
        )
        self.programming_seconds = Histogram(
            "pannier_operator_programming_duration_seconds",
            "From the news of a changed Usecase to its condition Programmed.",
            buckets=SECONDS,
            registry=registry,
        )
        self.leader = Gauge(
            "pannier_operator_leader", "1: this process does the work.", registry=registry
        )
        self._world = Gauge(
            "pannier_operator_world_listed_timestamp_seconds",
            "When everything was last listed completely.",
            registry=registry,
        )

    def world_listed(self) -> None:
        self._world.set(time())

    def watch_queue(self, queue: Queue) -> None:
        """Show the state of `queue`."""
        Gauge(
            "pannier_operator_queue_depth",
            "Namespaces that wait, also those that wait out a failure.",
            registry=self.registry,
        ).set_function(lambda: queue.depth)
        Gauge(
            "pannier_operator_reconciles_active",
            "Namespaces being worked on.",
            registry=self.registry,
        ).set_function(lambda: queue.active)
        Gauge(
            "pannier_operator_queue_oldest_seconds",
            "How long the oldest namespace that is due has waited.",
            registry=self.registry,
        ).set_function(queue.age)


def _reconciles(registry: CollectorRegistry) -> Counter:
    found = Counter(
        "pannier_operator_reconciles",
        "Namespaces compared with what should be, by result.",
        ["result"],
        registry=registry,
    )
    for result in ("unchanged", "changed", "failed"):
        found.labels(result)  # there from the start, so that a rate of it is never missing
    return found
