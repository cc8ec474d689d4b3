"""How the process fares: its memory, its interpreter, its event loop, and what it has in hand."""

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from pannier_gateway.drain import Drain
from pannier_gateway.metrics.tallies import SECONDS


class ProcessMetrics:
    """`loop_lag` takes how late the event loop was, in seconds; the rest is looked up."""

    def __init__(self, registry: CollectorRegistry, drain: Drain) -> None:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Gauge(
            "pannier_requests_in_flight", "Requests being served now.", registry=registry
        ).set_function(lambda: drain.in_flight)
        self.loop_lag = Histogram(
            "pannier_event_loop_lag_seconds",
            "How late the event loop was, sampled.",
            buckets=SECONDS,
            registry=registry,
        )
