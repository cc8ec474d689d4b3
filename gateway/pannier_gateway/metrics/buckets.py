"""What the buckets are kept in, as it is when somebody scrapes."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


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
            "1: the store was seen to keep the promise; 0: it was not.",
            labels=["bucket", "promise"],
        )
        for bucket, promises in self._found().items():
            for promise, kept in promises.items():
                family.add_metric([bucket, promise], kept)
        yield family
