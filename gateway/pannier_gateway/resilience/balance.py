"""Which endpoint to ask: of two taken at random the one with less to do, as it looks from here.

What an endpoint has to do is how long it takes to its first byte, times what it has been asked. One
that leaves requests waiting counts as that slow already, so retries and hedges go elsewhere without
being told. A driver has one `Endpoints` per bucket and takes `with endpoints.pick() as picked`
around each exchange. One that answers nobody any more, while another does, is left out and probed.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from pannier_gateway.errors import StoreBusy
from pannier_gateway.metrics import ShownEndpoint
from pannier_gateway.resilience.breaker import State
from pannier_gateway.resilience.picked import Count, Picked
from pannier_gateway.resilience.retry import TIMING, Timing
from pannier_gateway.resilience.standing import Standing

TRICKLE = 0.1  # of requests that go to endpoints of which all are open

E = TypeVar("E")

STATES: tuple[State, ...] = ("closed", "open", "probing")  # as metrics number them


class Endpoints(Generic[E]):
    """The endpoints of one bucket: what a driver asks through, by name."""

    def __init__(
        self, place: str, targets: Mapping[str, E], count: Count, timing: Timing = TIMING
    ) -> None:
        self.all = tuple(Standing(name, target) for name, target in targets.items())
        self.timing = timing
        self.count = count
        self._place = place

    def __str__(self) -> str:
        return " and ".join(each.name for each in self.all)

    def __repr__(self) -> str:
        return f"<Endpoints {self.all}>"

    def pick(self) -> Picked[E]:
        """The endpoint for one exchange. Raises StoreBusy where none is worth asking for now."""
        now = self.timing.now()
        chosen = self._choose(now)
        return Picked(chosen, now, self.count, self.timing, alone=len(self.all) == 1)

    def shown(self) -> Iterator[ShownEndpoint]:
        now = self.timing.now()
        for each in self.all:
            state = STATES.index(each.breaker.state)
            yield ShownEndpoint(each.name, state, each.cost(now), each.in_flight)

    def _choose(self, now: float) -> Standing[E]:
        if len(self.all) == 1 and self.all[0].breaker.state == "closed":
            return self.all[0]
        for each in self.all:
            if each.breaker.state == "probing" and each.breaker.due(now):
                each.swallow(now, self.timing.chance())
            if each.breaker.due(now):
                each.breaker.probe(now)
                self.count(each.name, "probed")
                return each
            if each.breaker.state == "closed" and each.silent(now):
                self._suspect(each, now)
        usable = [each for each in self.all if each.breaker.state == "closed"]
        return self._lighter(usable or self._trickle(now), now)

    def _suspect(self, endpoint: Standing[E], now: float) -> None:
        """Leave it out, unless nobody else has answered either: then it is not the one."""
        closed = [each for each in self.all if each.breaker.state == "closed"]
        others = any(each.answered_at > endpoint.asked_since for each in closed)
        if others:
            endpoint.breaker.silent(now, self.timing.chance())
            self.count(endpoint.name, "opened")

    def _trickle(self, now: float) -> list[Standing[E]]:
        """All of them, now and then: to open the last one would only make the outage longer."""
        if self.timing.chance() < TRICKLE:
            return list(self.all)
        wait = max(0.0, min(each.breaker.until for each in self.all) - now)
        raise StoreBusy(f"{self._place} has been failing and is left alone for a moment", wait)

    def _lighter(self, usable: list[Standing[E]], now: float) -> Standing[E]:
        if len(usable) == 1:
            return usable[0]
        first = int(self.timing.chance() * len(usable))
        second = int(self.timing.chance() * (len(usable) - 1))
        one, other = usable[first], usable[second + (second >= first)]
        return one if one.load(now) <= other.load(now) else other
