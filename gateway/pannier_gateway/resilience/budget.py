"""How many retries a bucket may cost: a store in trouble must not be asked for more than before.

Two limits at once. A purse, as the AWS SDKs have it since 2026: a retry takes coins out of it, its
success puts them back, and so does, by one, every success at once. And a ratio, as Linkerd has it:
retries are at most a fifth of the requests of the last 10 s, with a floor for quiet hours.
"""

from collections.abc import Callable

from pannier_gateway.resilience.window import Window

CAPACITY = 500
COSTS = {"transient": 14, "busy": 5}
WINDOW_SECONDS = 10
RATIO = 0.2
FLOOR = 10 * WINDOW_SECONDS  # retries within the window that need no requests beside them


class RetryBudget:
    """The budget of one bucket. `now` tells seconds from any beginning on."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.coins = CAPACITY
        self._now = now
        self._requests = Window(WINDOW_SECONDS)
        self._retries = Window(WINDOW_SECONDS)

    def __repr__(self) -> str:
        return f"<RetryBudget {self.coins}/{CAPACITY}>"

    def asked(self, now: float) -> None:
        """There was a request."""
        self._requests.add(now)

    def succeeded(self, now: float) -> None:
        """There was a request, and it needed no retry."""
        self._requests.add(now)
        if self.coins < CAPACITY:
            self.coins += 1

    def take(self, kind: str | None) -> bool:
        """Pay for a retry of this kind, None: a free one; False where that can't be afforded."""
        if kind is None:
            return True
        now = self._now()
        cost = COSTS[kind]
        allowed = RATIO * self._requests.sum(now) + FLOOR
        if self.coins < cost or self._retries.sum(now) >= allowed:
            return False
        self.coins -= cost
        self._retries.add(now)
        return True

    def give_back(self, kind: str | None) -> None:
        """The retry went well, or was not made; None: it had cost nothing."""
        if kind is not None:
            self.coins = min(CAPACITY, self.coins + COSTS[kind])
