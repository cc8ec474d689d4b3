"""What the policies of usecases come to: whom their limits refuse, and what compressing saves."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter


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
