"""Whether an endpoint is worth asking: closed while it is, open while it is not, probed in between.

Pure: time and chance are told. After Linkerd's unified breaker.
"""

from typing import Literal

from pannier_gateway.resilience.window import Window

IN_A_ROW = 7
RATE = 0.8  # of successes, below which it opens
RATE_SAMPLES = 20
RATE_SECONDS = 10
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0  # that it stays open; doubled each time
JITTER = 0.5
STALE_SECONDS = 1.0  # after which nobody waits for a probe any more: it may be an upload

State = Literal["closed", "open", "probing"]


class Breaker:
    """The breaker of one endpoint."""

    __slots__ = ("_asked", "_failed", "_in_a_row", "_openings", "_since", "state", "until")

    def __init__(self) -> None:
        self.state: State = "closed"
        self.until = 0.0  # what it stays open for
        self._openings = 0  # since it was closed last
        self._since = 0.0  # of the probe
        self._in_a_row = 0
        self._asked = Window(RATE_SECONDS)
        self._failed = Window(RATE_SECONDS)

    def __repr__(self) -> str:
        return f"<Breaker {self.state}, {self._in_a_row} failures in a row>"

    def due(self, now: float) -> bool:
        """Whether a probe is called for."""
        if self.state == "probing":
            return now - self._since >= STALE_SECONDS
        return self.state == "open" and now >= self.until

    def probe(self, now: float) -> None:
        """One request is on its way to find out."""
        self.state = "probing"
        self._since = now

    def gave_up(self, began: float, now: float) -> bool:
        """The probe of then ended without a word of the endpoint: another may begin soon. False: it
        was none."""
        if self.state != "probing" or self._since != began:
            return False
        self.state = "open"
        self.until = now + FIRST_SECONDS
        return True

    def silent(self, now: float, chance: float) -> None:
        """It leaves somebody waiting, while others answer; so does a probe that it is sent."""
        self._open(now, chance)

    def succeeded(self, now: float) -> None:
        self._asked.add(now)
        self._in_a_row = 0
        if self.state != "closed":
            self._close()

    def failed(self, now: float, chance: float) -> None:
        """It did not answer, or that it failed."""
        self._in_a_row += 1
        self._count_failure(now, chance)

    def cut(self, now: float, chance: float) -> None:
        """A connection to it ended: that counts in a row alone, for what cuts some of them lies in
        between, and whoever asks again is answered."""
        self._in_a_row += 1
        if self.state == "probing" or (self.state == "closed" and self._in_a_row >= IN_A_ROW):
            self._open(now, chance)

    def refused(self, now: float, chance: float) -> None:
        """It answered that it has enough to do: that counts for the rate alone, and for a probe."""
        self._count_failure(now, chance)

    def _count_failure(self, now: float, chance: float) -> None:
        self._asked.add(now)
        self._failed.add(now)
        if self.state == "probing" or (self.state == "closed" and self._tripped(now)):
            self._open(now, chance)

    def _tripped(self, now: float) -> bool:
        asked = self._asked.sum(now)
        rate_fell = asked >= RATE_SAMPLES and self._failed.sum(now) > (1 - RATE) * asked
        return self._in_a_row >= IN_A_ROW or rate_fell

    def _open(self, now: float, chance: float) -> None:
        seconds = min(MOST_SECONDS, FIRST_SECONDS * 2**self._openings)
        self.state = "open"
        self.until = now + seconds * (1 + JITTER * chance)
        self._openings = min(self._openings + 1, 10)

    def _close(self) -> None:
        self.state = "closed"
        self._openings = 0
        self._asked.clear()
        self._failed.clear()
