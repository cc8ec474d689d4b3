"""How one endpoint fares: how long it takes to its first byte, and who waits for it.

The time is a moving average that jumps up at once and comes down slowly. Where probes of one that
answers nobody are swallowed as well, whoever has waited for it gives up: it would be a minute for
an upload.
"""

from math import exp, inf
from typing import Generic, Protocol, TypeVar

from pannier_gateway.resilience.breaker import Breaker

FIRST_GUESS = 0.03  # seconds to the first byte
DECAY_SECONDS = 10.0
SILENT_SECONDS = 1.0  # after which one that answers nobody is probed
SWALLOWED = 2  # probes in a row, after which nobody waits for it any more
WAITED_SECONDS = 2.0  # by whoever gives up

E = TypeVar("E")


class Waiter(Protocol):
    """One who awaits a first byte."""

    def look_in(self, seconds: float) -> None:
        """Wait no longer, if it is in vain by then."""


class Standing(Generic[E]):
    """How one endpoint fares."""

    __slots__ = (
        "_at", "_cost", "answered_at", "asked_since", "breaker", "in_flight", "name", "swallowed",
        "target", "waiting",
    )  # fmt: skip

    def __init__(self, name: str, target: E) -> None:
        self.name = name
        self.target = target
        self.breaker = Breaker()
        self.in_flight = 0
        self.waiting: dict[Waiter, float] = {}  # since when each awaits a first byte, in order
        self.answered_at = 0.0
        self.asked_since = inf  # when somebody asked after that first, even who has left again
        self.swallowed = 0  # probes since then
        self._cost = FIRST_GUESS
        self._at = 0.0

    def __repr__(self) -> str:
        return f"<Standing of {self.name}: {self._cost:.3f} s, {self.in_flight} in flight>"

    def cost(self, now: float) -> float:
        """Seconds to the first byte, as it looks now; nobody is remembered as slow forever."""
        return max(self._cost * self._left(now), self._waited(now))

    def silent(self, now: float) -> bool:
        """Whether it leaves somebody waiting, and has answered nobody for a while.

        Who asked has not been there all that time: reads that are late leave.
        """
        return self._waited(now) > FIRST_GUESS and now - self.asked_since >= SILENT_SECONDS

    def _waited(self, now: float) -> float:
        """Seconds, by whoever waits longest."""
        return now - next(iter(self.waiting.values()), now)

    def awaited(self, waiter: Waiter, since: float) -> None:
        """Somebody asks who could ask another; nobody else may come to find out more."""
        self.asked_since = min(self.asked_since, since)
        if self.swallowed:
            waiter.look_in(WAITED_SECONDS)

    def heard_of(self, now: float) -> None:
        self.answered_at, self.swallowed = now, 0
        self.asked_since = now if self.waiting else inf

    @property
    def in_vain(self) -> bool:
        """Whether nobody is to wait for it any more."""
        return self.swallowed >= SWALLOWED

    def swallow(self, now: float, chance: float) -> None:
        """A probe has not been answered; after some it is left alone for longer and longer."""
        self.swallowed += 1
        if self.in_vain:
            self.breaker.silent(now, chance)
            self.tell_the_waiting(now)

    def tell_the_waiting(self, now: float) -> None:
        """Whoever has waited for long, or comes to, gives up if that is in vain."""
        for waiter, since in self.waiting.items():
            waiter.look_in(max(0.0, since + WAITED_SECONDS - now))

    def load(self, now: float) -> float:
        return self.cost(now) * (self.in_flight + 1)

    def observe(self, seconds: float, now: float) -> None:
        if seconds > self._cost:
            self._cost = seconds
        else:
            left = self._left(now)
            self._cost = seconds * (1 - left) + self._cost * left
        self._at = now

    def _left(self, now: float) -> float:
        """The part of what was known that still counts."""
        return exp((self._at - now) / DECAY_SECONDS)
