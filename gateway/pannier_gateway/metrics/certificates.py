"""The certificates in force, as they are when somebody scrapes."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


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
            "When the certificate ends, since the epoch; of a bundle the first.",
            labels=["user", "file"],
        )
        reloads = CounterMetricFamily(
            "pannier_certificate_reloads",
            "Certificates whose files had changed.",
            labels=["user", "result"],
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
