"""Which configuration is in force, since when, and what became of newer ones."""

from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge

from pannier_gateway.config.model import GatewayConfig


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
            "Seconds since the configuration in force was taken up.",
            registry=registry,
        ).set_function(lambda: time() - self._since)

    def applied(self, config: GatewayConfig, digest: str) -> None:
        self._info.clear()
        self._info.labels(digest, str(config.generation)).set(1)
        self._reloads.labels("applied").inc()
        self._since = time()

    def refused(self, error: Exception) -> None:
        self._reloads.labels("refused").inc()
