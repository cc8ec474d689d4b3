"""How long the client waits and how often it tries: decided here, without a clock."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Timeout:
    """Seconds to wait; None waits for ever.

    `connect` is for reaching the gateway, TLS included. `read` is the longest silence while a
    request is sent or its answer read, not the time for the whole of it.
    """

    connect: float | None = 1.0
    read: float | None = 60.0

    def __post_init__(self) -> None:
        for name, seconds in (("connect", self.connect), ("read", self.read)):
            if seconds is not None and not seconds > 0:
                raise ValueError(
                    f"timeout {name}={seconds!r} must be above 0, or None for no limit"
                )

    @classmethod
    def of(cls, timeout: Self | float) -> Self:
        """Take a bare number of seconds for both."""
        if isinstance(timeout, int | float):
            return cls(timeout, timeout)
        if not isinstance(timeout, cls):
            raise TypeError(f"timeout={timeout!r} must be a Timeout, or a number of seconds")
        return timeout


@dataclass(frozen=True, slots=True)
class Retry:
    """How long an unreachable gateway is tried again, in seconds; 0 tries once.

    The default outlasts a sidecar that starts beside the application. A request counts as sent
    once a connection stands, so this repeats no request.
    """

    connect_for: float = 5.0
    first_wait: float = 0.05
    longest_wait: float = 0.5

    def __post_init__(self) -> None:
        if self.connect_for < 0 or not 0 < self.first_wait <= self.longest_wait:
            raise ValueError(f"{self} needs connect_for >= 0 and 0 < first_wait <= longest_wait")

    def wait(self, failures: int, elapsed: float) -> float | None:
        """Seconds to wait after so many failures in so much time; None gives up."""
        left = self.connect_for - elapsed
        if left <= 0:
            return None
        doubled = self.first_wait * 2.0 ** min(failures - 1, 16)
        return min(doubled, self.longest_wait, left)
