"""Whether the operator does its work, or had better be started anew: what /livez goes by."""

from collections.abc import Callable
from time import monotonic

STUCK_SECONDS = 300


class Pulse:
    """When everything was last listed, and when work was last done. `resync` in seconds."""

    def __init__(self, resync: float, clock: Callable[[], float] = monotonic) -> None:
        self._resync = resync
        self._clock = clock
        self._listed_at = self._worked_at = clock()

    def __repr__(self) -> str:
        return f"<Pulse {self.ailing(0.0) or 'well'}>"

    def listed(self) -> None:
        self._listed_at = self._clock()

    def worked(self) -> None:
        self._worked_at = self._clock()

    def ailing(self, waiting: float) -> str | None:
        """What is wrong, where the oldest work that is due has waited for so many seconds."""
        if (age := self._clock() - self._listed_at) > 3 * self._resync:
            return f"everything was last listed {age:.0f} s ago"
        idle = min(waiting, self._clock() - self._worked_at)
        return f"nobody has looked at what waits for {idle:.0f} s" if idle > STUCK_SECONDS else None
