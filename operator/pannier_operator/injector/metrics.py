"""Every metric of the injector, declared once."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from prometheus_client import Counter, Gauge, Histogram

from pannier_operator.registry import of_this_process

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
RESULTS = ("injected", "unchanged", "denied", "malformed", "failed")


class Review:
    """A review under way; `result` is what becomes of it."""

    def __init__(self) -> None:
        self.result = "failed"


class Metrics:
    """All of them, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = of_this_process()
        self._reviews = Counter(
            "pannier_injector_reviews", "Reviews answered.", ["result"], registry=registry
        )
        for result in RESULTS:
            self._reviews.labels(result)
        self._seconds = Histogram(
            "pannier_injector_review_duration_seconds",
            "From the review's body to its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "pannier_injector_reviews_in_flight", "Reviews being answered now.", registry=registry
        )
        self.expiry = Gauge(
            "pannier_injector_certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends; 0: there is none yet.",
            registry=registry,
        )
        self.certificates = Counter(
            "pannier_injector_certificate_checks",
            "Looks after the certificate: the same, a new one taken up, or failed.",
            ["result"],
            registry=registry,
        )
        for result in ("unchanged", "loaded", "failed"):
            self.certificates.labels(result)

    def malformed(self) -> None:
        """Count a review whose body never came whole."""
        self._reviews.labels("malformed").inc()

    @contextmanager
    def review(self) -> Iterator[Review]:
        """The time of one review."""
        review, began = Review(), monotonic()
        with self._in_flight.track_inprogress():
            try:
                yield review
            finally:
                self._reviews.labels(review.result).inc()
                self._seconds.observe(monotonic() - began)
