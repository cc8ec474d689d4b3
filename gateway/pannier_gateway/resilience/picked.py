"""One exchange with an endpoint, and what its end says of that."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from pannier_gateway.errors import StoreBusy, StoreTimedOut, StoreUnavailable
from pannier_gateway.resilience.breaker import State
from pannier_gateway.resilience.failures import exchange_error
from pannier_gateway.resilience.retry import Timing
from pannier_gateway.resilience.standing import FIRST_GUESS, Standing
from pannier_gateway.upstream.errors import (
    AnswerCut,
    ExchangeError,
    FirstByteTimedOut,
    KeptAliveDied,
    NoAnswer,
    PoolExhausted,
)

PENALTY = 5.0  # seconds that a failure counts as
MOST_PENALTY = 30.0  # that a store may ask for

E = TypeVar("E")

Count = Callable[[str, str], None]  # the endpoint, what became of its breaker


class Picked(Generic[E]):
    """One exchange with one endpoint: a `with` block that ends as the exchange does.

    `answered` is to be called when the answer begins; a block that ends well has been answered.
    `since` is when it was picked, by which the endpoint's breaker knows its probe.
    `alone`: there is no other endpoint that could be asked instead.
    """

    __slots__ = (
        "_alone", "_cancels", "_count", "_endpoint", "_since", "_task", "_timer", "_timing",
        "_waits_in_vain",
    )  # fmt: skip

    def __init__(
        self, endpoint: Standing[E], since: float, count: Count, timing: Timing, *, alone: bool
    ) -> None:
        self._endpoint = endpoint
        self._count = count
        self._timing = timing
        self._alone = alone
        self._since = since
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
            now = self._timing.now()
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
        if not self._alone:
            self._task = current_task()
            self._cancels = 0 if self._task is None else self._task.cancelling()
            endpoint.awaited(self, self._since)
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
        endpoint.breaker.refused(now, self._timing.chance())
        self._tell_of(before)

    def _failed(self, *, cut: bool) -> None:
        endpoint, now = self._endpoint, self._ended()
        endpoint.observe(PENALTY, now)
        before = endpoint.breaker.state
        if before == "probing":
            endpoint.swallowed += 1
            endpoint.tell_the_waiting(now)
        count = endpoint.breaker.cut if cut else endpoint.breaker.failed
        count(now, self._timing.chance())
        self._tell_of(before)

    def _abandoned(self) -> None:
        """Nobody has heard of the endpoint: what is known is that it took at least as long."""
        endpoint = self._endpoint
        if self in endpoint.waiting:
            now = self._ended()
            probed = endpoint.breaker.gave_up(self._since, now)
            if probed and now - self._since > FIRST_GUESS:
                endpoint.swallow(now, self._timing.chance())
            if now - self._since > endpoint.cost(now):
                endpoint.observe(now - self._since, now)

    def _ended(self) -> float:
        self._endpoint.waiting.pop(self, None)
        return self._timing.now()

    def _tell_of(self, before: State) -> None:
        state = self._endpoint.breaker.state
        if state != before:
            became = "closed" if state == "closed" else "opened"
            self._count(self._endpoint.name, became)


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
