"""Which endpoint to ask: of two taken at random the one with less to do, as it looks from here.

What an endpoint has to do is how long it takes to its first byte (a moving average that jumps up at
once and comes down slowly), times what it has been asked. One that leaves requests waiting counts
as that slow already, so retries and hedges go elsewhere without being told. A driver has one
`Endpoints` per bucket and takes `with endpoints.pick() as picked` around each exchange.

One that answers nobody any more, while another does, is left out and probed. Where the probes are
swallowed as well, whoever has waited for it gives up: it would be a minute for an upload.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from math import exp, inf
from types import TracebackType
from typing import Generic, TypeVar

from pannier_gateway.errors import StoreBusy, StoreTimedOut, StoreUnavailable
from pannier_gateway.metrics import ShownEndpoint
from pannier_gateway.resilience.breaker import Breaker, State
from pannier_gateway.resilience.failures import exchange_error
from pannier_gateway.resilience.retry import TIMING, Timing
from pannier_gateway.upstream.errors import (
    AnswerCut,
    ExchangeError,
    FirstByteTimedOut,
    KeptAliveDied,
    NoAnswer,
    PoolExhausted,
)

FIRST_GUESS = 0.03  # seconds to the first byte
DECAY_SECONDS = 10.0
PENALTY = 5.0  # seconds that a failure counts as
MOST_PENALTY = 30.0  # that a store may ask for
TRICKLE = 0.1  # of requests that go to endpoints of which all are open
SILENT_SECONDS = 1.0  # after which one that answers nobody is probed
SWALLOWED = 2  # probes in a row, after which nobody waits for it any more
WAITED_SECONDS = 2.0  # by whoever gives up

E = TypeVar("E")

STATES: tuple[State, ...] = ("closed", "open", "probing")  # as metrics number them

Count = Callable[[str, str], None]  # the endpoint, what became of its breaker


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
        self.waiting: dict[Picked[E], float] = {}  # since when each awaits a first byte, in order
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
        for picked, since in self.waiting.items():
            picked.look_in(max(0.0, since + WAITED_SECONDS - now))

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

    def pick(self) -> "Picked[E]":
        """The endpoint for one exchange. Raises StoreBusy where none is worth asking for now."""
        now = self.timing.now()
        return Picked(self, self._choose(now), now)

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


class Picked(Generic[E]):
    """One exchange with one endpoint: a `with` block that ends as the exchange does.

    `answered` is to be called when the answer begins; a block that ends well has been answered.
    """

    __slots__ = (
        "_cancels", "_endpoint", "_endpoints", "_since", "_task", "_timer", "_waits_in_vain",
    )  # fmt: skip

    def __init__(self, endpoints: Endpoints[E], endpoint: Standing[E], now: float) -> None:
        self._endpoints = endpoints
        self._endpoint = endpoint
        self._since = now
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waits_in_vain = False

    @property
    def target(self) -> E:
        return self._endpoint.target

    def answered(self) -> None:
        """The first byte is there."""
        endpoint = self._endpoint
        if endpoint.waiting.pop(self, None) is not None:
            now = self._endpoints.timing.now()
            endpoint.observe(now - self._since, now)
            endpoint.heard_of(now)
            before = endpoint.breaker.state
            endpoint.breaker.succeeded(now)
            self._tell_of(before)

    def look_in(self, seconds: float) -> None:
        """Wait no longer, if it is in vain by then: the block ends with StoreTimedOut."""
        if self._task is not None and self._timer is None:
            self._timer = self._task.get_loop().call_later(seconds, self._look)

    def __enter__(self) -> "Picked[E]":
        endpoint = self._endpoint
        endpoint.in_flight += 1
        endpoint.waiting[self] = self._since
        if len(self._endpoints.all) > 1:  # else there is nobody else to ask
            endpoint.asked_since = min(endpoint.asked_since, self._since)
            self._task = current_task()
            self._cancels = 0 if self._task is None else self._task.cancelling()
            if endpoint.swallowed:  # nobody else may come to ask
                self.look_in(WAITED_SECONDS)
        return self

    def _look(self) -> None:
        self._timer = None
        if self in self._endpoint.waiting and self._endpoint.in_vain and not self._waits_in_vain:
            assert self._task is not None
            self._waits_in_vain = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._endpoint.in_flight -= 1
        if self._timer is not None:
            self._timer.cancel()
        match error:
            case None:
                self.answered()
            case StoreBusy():
                self._refused(error)
            case Exception() if says_nothing(error):
                self._abandoned()
            case Exception() if at_fault(error):
                self._failed(cut=isinstance(broke(error), NoAnswer | AnswerCut))
            case Exception():
                self.answered()  # with a refusal, or something that is ours
            case _:
                self._abandoned()
        if self._waits_in_vain:
            self._give_up(error)

    def _give_up(self, error: BaseException | None) -> None:
        """In place of the cancellation that was meant for this block alone."""
        assert self._task is not None
        if self._task.uncancel() > self._cancels or not isinstance(error, asyncio.CancelledError):
            return
        silent = FirstByteTimedOut(f"{self._endpoint.name} answers nobody any more")
        raise StoreTimedOut(str(silent)) from silent

    def _refused(self, error: StoreBusy) -> None:
        endpoint, now = self._endpoint, self._ended()
        wait = PENALTY if error.wait is None else min(error.wait, MOST_PENALTY)
        endpoint.observe(max(wait, PENALTY), now)
        before = endpoint.breaker.state
        endpoint.breaker.refused(now, self._endpoints.timing.chance())
        self._tell_of(before)

    def _failed(self, *, cut: bool) -> None:
        endpoint, now = self._endpoint, self._ended()
        endpoint.observe(PENALTY, now)
        before = endpoint.breaker.state
        if before == "probing":
            endpoint.swallowed += 1
            endpoint.tell_the_waiting(now)
        count = endpoint.breaker.cut if cut else endpoint.breaker.failed
        count(now, self._endpoints.timing.chance())
        self._tell_of(before)

    def _abandoned(self) -> None:
        """Nobody has heard of the endpoint: what is known is that it took at least as long."""
        endpoint = self._endpoint
        if self in endpoint.waiting:
            now = self._ended()
            probed = endpoint.breaker.gave_up(self._since, now)
            if probed and now - self._since > FIRST_GUESS:
                endpoint.swallow(now, self._endpoints.timing.chance())
            if now - self._since > endpoint.cost(now):
                endpoint.observe(now - self._since, now)

    def _ended(self) -> float:
        self._endpoint.waiting.pop(self, None)
        return self._endpoints.timing.now()

    def _tell_of(self, before: State) -> None:
        state = self._endpoint.breaker.state
        if state != before:
            became = "closed" if state == "closed" else "opened"
            self._endpoints.count(self._endpoint.name, became)


def current_task() -> "asyncio.Task[object] | None":
    """None outside of a loop, where nobody waits."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def at_fault(error: Exception) -> bool:
    """Whether the endpoint is: it did not answer, or that it failed."""
    cause = broke(error)
    if cause is not None:
        return not says_nothing(error)
    return isinstance(error, StoreUnavailable | StoreTimedOut)


def says_nothing(error: Exception) -> bool:
    """Whether it was never asked: a connection had been idle too long, or none was free."""
    return isinstance(broke(error), KeptAliveDied | PoolExhausted)


def broke(error: Exception) -> ExchangeError | None:
    return error if isinstance(error, ExchangeError) else exchange_error(error)
