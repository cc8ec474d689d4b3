"""All that the three kinds of processes expose, with something in every metric."""

import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

from prometheus_client import CollectorRegistry, Metric, generate_latest

from pannier_gateway import metrics as gateway_metrics
from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.drain import Drain
from pannier_gateway.metrics import ShownEndpoint
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_operator import metrics as operator_metrics
from pannier_operator.injector import metrics as injector_metrics
from pannier_operator.pace import Backoff
from pannier_operator.queue import Queue

SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "info": ("_info",),
}


@dataclass
class Shown:
    """Certificates, as far as metrics show them."""

    expiries: Mapping[str, float]
    verified: bool
    applied: int
    refused: int


def of_gateway() -> CollectorRegistry:
    """A gateway's registry, into which each look at it brings something new."""
    metrics = gateway_metrics.Metrics(Drain())
    metrics.buckets.watch(lambda: {"team-a/main": True})
    metrics.promises.watch(lambda: {"team-a/main": {"tags": False}})
    trust = Shown({"certificate": time() + 1e6}, verified=True, applied=1, refused=1)
    metrics.certificates.watch({"team-a/main": trust})
    resilience = metrics.resilience
    Resilience("team-a/main", Shared(resilience, lambda: 0.0, ThreadPoolExecutor(1)))
    endpoint = ShownEndpoint("https://store", 0, 0.01, 1)
    resilience.watch_endpoints("team-a/main", lambda: [endpoint])
    metrics.config.applied(GatewayConfig(generation=1, buckets={}, usecases={}), "abc")

    def busy() -> None:
        for status in (200, 404, 500):
            tally = metrics.requests.tally("attachments", "get", status)
            tally.seconds.add(0.02)
            tally.first_byte.add(0.01)
            tally.bytes_in += 10
            tally.bytes_out += 20
        for outcome in ("ok", "ObjectNotFound"):
            metrics.store_operations.add("team-a/main", "open", outcome, 0.01)
        metrics.limits.count("attachments", "requestsPerSecond", 1)
        metrics.compression.add("attachments", 100, 40)
        metrics.expired.labels("attachments").inc()
        metrics.swept.inc()
        metrics.loop_lag.observe(0.001)
        metrics.config.refused(ValueError())
        resilience.retried("team-a/main", "open", "StoreBusy", "ok")
        resilience.resumed("team-a/main", "AnswerCut", "ok")
        resilience.hedged("team-a/main", "open", "won")
        resilience.unreplayable("team-a/main", "too large")
        resilience.sought("team-a/main", "found")
        resilience.shed("team-a/main", "write", "queue full")
        resilience.breaker("team-a/main", "https://store", "opened")

    return Stirred(metrics.registry, busy)


def of_operator() -> CollectorRegistry:
    """The same of an operator."""
    metrics = operator_metrics.Metrics()
    metrics.watch_queue(Queue(Backoff()))
    metrics.leader.set(1)
    metrics.usecases.told("team-a", Tally({("True", "Ready"): 3}), 1000)

    def busy() -> None:
        with metrics.api.request("list") as request:
            request.code = "200"
        metrics.reconciles.labels("changed").inc()
        metrics.reconcile_seconds.observe(0.1)
        metrics.programming_seconds.observe(0.2)
        metrics.world_listed()

    return Stirred(metrics.registry, busy)


def of_injector() -> CollectorRegistry:
    """The same of an injector."""
    metrics = injector_metrics.Metrics()
    metrics.expiry.set(time() + 1e6)

    def busy() -> None:
        with metrics.review() as review:
            review.result = "injected"
        metrics.certificates.labels("unchanged").inc()

    return Stirred(metrics.registry, busy)


class Stirred(CollectorRegistry):
    """Another registry's metrics, after `busy` has been at work."""

    def __init__(self, inner: CollectorRegistry, busy: Callable[[], None]) -> None:
        super().__init__()
        self._inner = inner
        self._busy = busy

    def collect(self) -> Iterator[Metric]:
        self._busy()
        yield from self._inner.collect()


PROCESSES: Mapping[str, Callable[[], CollectorRegistry]] = {
    "gateway": of_gateway,
    "operator": of_operator,
    "injector": of_injector,
}


def sample_names(registry: CollectorRegistry) -> set[str]:
    """The names by which what is in there can be asked for."""
    return {
        metric.name + suffix
        for metric in registry.collect()
        for suffix in SUFFIXES.get(metric.type, ("",))
    }


@contextmanager
def exposed() -> Iterator[int]:
    """All three at /gateway, /operator and /injector of a port of loopback."""
    pages = {f"/{name}": make() for name, make in PROCESSES.items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = generate_latest(pages[self.path])
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is called
            """Nobody wants to know."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
