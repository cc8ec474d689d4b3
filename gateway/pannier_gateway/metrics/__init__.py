"""Every metric, declared once."""

from prometheus_client import CollectorRegistry, Counter

from pannier_gateway.drain import Drain
from pannier_gateway.metrics.buckets import BucketMetrics, PromiseMetrics
from pannier_gateway.metrics.certificates import CertificateMetrics
from pannier_gateway.metrics.configuration import ConfigMetrics
from pannier_gateway.metrics.process import ProcessMetrics
from pannier_gateway.metrics.resilience import ResilienceMetrics, ShownEndpoint
from pannier_gateway.metrics.tallies import Requests, StoreOperations
from pannier_gateway.metrics.usecases import CompressionMetrics, LimitMetrics

__all__ = [
    "CertificateMetrics",
    "Metrics",
    "Requests",
    "ResilienceMetrics",
    "ShownEndpoint",
]


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self, drain: Drain) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests, self.store_operations = Requests(), StoreOperations()
        self.buckets, self.promises = BucketMetrics(), PromiseMetrics()
        for each in (self.requests, self.store_operations, self.buckets, self.promises):
            registry.register(each)
        self.config = ConfigMetrics(registry)
        self.limits = LimitMetrics(registry)
        self.resilience = ResilienceMetrics(registry)
        self.certificates = CertificateMetrics(registry)
        self.compression = CompressionMetrics(registry)
        self.loop_lag = ProcessMetrics(registry, drain).loop_lag
        self.expired = Counter(
            "pannier_expired_requests",
            "Requests for an object whose time was over.",
            ["usecase"],
            registry=registry,
        )
        self.swept = Counter(
            "pannier_swept_objects", "Expired objects deleted by the sweeper.", registry=registry
        )
