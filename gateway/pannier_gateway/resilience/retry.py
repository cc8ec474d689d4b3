"""Trying again: when, how often, and when to give up instead.

A retry waits a random part of a time that doubles (full jitter), or as long as the store says.
Bodies are not its business: see `replay` for those on their way in, `resume` for the others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from random import random
from time import monotonic
from typing import NamedTuple, TypeVar

from msgspec import Struct

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import ClientError, ObjectNotFound, PannierError, PreconditionFailed
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.budget import RetryBudget
from pannier_gateway.resilience.failures import Failure, judge
from pannier_gateway.stores.around import OpeningAround, StoreAround
from pannier_gateway.stores.base import Listing, Page, Reading, Record, Store

T = TypeVar("T")

Count = Callable[[str, str, str], None]  # what was asked, the reason, the outcome
Able = Callable[[], bool]  # whether it can be tried again at all


class RetryPolicy(Struct, frozen=True):
    """How hard to try. Times in seconds; `attempts` counts the first one too.

    Six attempts are over within 0.8 s where nobody answers; the budget keeps them few in all. Where
    a connection ended the first wait is `cut_base` at most: it says little of the store.
    `deadline` counts from the first failure, is for retries to begin in, and never for bodies.
    """

    attempts: int = 6
    base: float = 0.025
    cut_base: float = 0.01
    cap: float = 2.0
    busy_base: float = 1.0
    busy_cap: float = 20.0
    longest_wait: float = 30.0  # that a store may ask for
    deadline: float = 30.0


class Timing(NamedTuple):
    """Time and chance, as tests want to have them in hand."""

    now: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random


def always() -> bool:
    return True


class Spent(NamedTuple):
    """What has been tried so far, and the seconds since the first failure.

    `free`: one more try, at once, is owed to a connection that ends.
    """

    tries: int
    seconds: float
    free: bool


TIMING = Timing()


def pause(policy: RetryPolicy, spent: Spent, failure: Failure, chance: float) -> float | str:
    """Seconds to wait before the next try; or why there is none, as metrics name it."""
    if failure.kind == "permanent":
        return "permanent"
    if owed(policy, failure, spent):
        return 0.0
    if spent.tries >= policy.attempts:
        return "no attempts left"
    if failure.wait is not None and failure.wait > policy.longest_wait:
        return "told to wait too long"
    seconds = max(backoff(policy, spent.tries, failure, chance), failure.wait or 0.0)
    return "too late" if spent.seconds + seconds > policy.deadline else seconds


def owed(policy: RetryPolicy, failure: Failure, spent: Spent) -> bool:
    """Whether there is a try more, at once: a connection that ends says little of the store."""
    return spent.free and (failure.unread or (failure.cut and policy.attempts > 1))


def price(failure: Failure, spent: Spent) -> str | None:
    """What the next try is paid for as; None: it is free, as the last was most likely not read."""
    return None if failure.unread and spent.free else failure.kind


def backoff(policy: RetryPolicy, tries: int, failure: Failure, chance: float) -> float:
    """Seconds: a random part of a time that doubles with every try."""
    busy = failure.kind == "busy"
    base, cap = (policy.busy_base, policy.busy_cap) if busy else (policy.base, policy.cap)
    if failure.cut and tries == 1:
        base = min(base, policy.cut_base)
    return float(min(cap, base * 2 ** (tries - 1)) * chance)


def ended(error: PannierError | None) -> str:
    """How a retry ended, as metrics name it: an answer that nobody wished for is one too."""
    if error is None:
        return "ok"
    return "answered" if judge(error).kind == "permanent" else "failed"


class Retrier:
    """Does things again for one bucket; `policy` may be changed at any time."""

    def __init__(
        self, policy: RetryPolicy, budget: RetryBudget, count: Count, timing: Timing = TIMING
    ) -> None:
        self.policy = policy
        self.timing = timing
        self._budget = budget
        self._count = count

    def __repr__(self) -> str:
        return f"<Retrier {self.policy.attempts} attempts, {self._budget}>"

    async def run(
        self, operation: str, attempt: Callable[[], Awaitable[T]], able: Able = always
    ) -> T:
        """What `attempt` returns in the end. Raises what it raised last."""
        try:
            done = await attempt()
        except PannierError as error:
            return await self.again(error, operation, attempt, able)
        self.succeeded()
        return done

    def succeeded(self) -> None:
        """Something was done at the first try."""
        self._budget.succeeded(self.timing.now())

    async def again(
        self,
        error: PannierError,
        operation: str,
        attempt: Callable[[], Awaitable[T]],
        able: Able = always,
    ) -> T:
        """What `attempt` returns in the end, after the first try ended with `error`."""
        started, tries, free = self.timing.now(), 1, True
        count = self._budget.succeeded if isinstance(error, ClientError) else self._budget.asked
        count(started)
        while True:
            failure = judge(error)
            spent = Spent(tries, self.timing.now() - started, free)
            refusal = await self._wait(failure, spent) if able() else "not replayable"
            if refusal is not None:
                self._count_refusal(operation, failure, refusal)
                raise error
            counted = not owed(self.policy, failure, spent)
            tries, free = tries + counted, free and counted
            try:
                done = await attempt()
            except PannierError as again:
                error = again
                self._account(operation, failure, spent, error)
            else:
                self._account(operation, failure, spent, None)
                return done

    async def _wait(self, failure: Failure, spent: Spent) -> str | None:
        """Until the next try; why there is none, if so."""
        seconds = pause(self.policy, spent, failure, self.timing.chance())
        if isinstance(seconds, str):
            return seconds
        paid = price(failure, spent)
        if not self._budget.take(paid):
            return "no budget"
        try:
            if seconds:
                await self.timing.sleep(seconds)
        except asyncio.CancelledError:  # whoever asked has left, and the store is spared the try
            self._budget.give_back(paid)
            raise
        return None

    def _account(
        self, operation: str, failure: Failure, spent: Spent, error: PannierError | None
    ) -> None:
        """Count a retry that ended with `error`; what was answered costs nothing."""
        self._count(operation, failure.reason, ended(error))
        if error is None or isinstance(error, ClientError):  # that there is nothing is an answer
            self._budget.give_back(price(failure, spent))

    def _count_refusal(self, operation: str, failure: Failure, refusal: str) -> None:
        if failure.kind != "permanent":  # of those there was nothing to try again
            self._count(operation, failure.reason, refusal)


class RetryStore(StoreAround):
    """The Store seam around another store, whose failures pass. A body is put once."""

    def __init__(self, store: Store, retrier: Retrier) -> None:
        super().__init__(store)
        self._retrier = retrier

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> "RetriedOpening":
        return RetriedOpening(self._store, self._retrier, path, ahead)

    async def head(self, path: str) -> Record:
        return await self._retrier.run("head", lambda: self._store.head(path))

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        """After a try that may have gone through, an object that is gone counts as deleted."""
        return await self._retrier.run("delete", Deletion(self._store, path, conditions).attempt)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        return await self._retrier.run("touch", lambda: self._store.touch(path, etag, expires))

    async def list(self, listing: Listing) -> Page:
        return await self._retrier.run("list", lambda: self._store.list(listing))


class RetriedOpening(OpeningAround):
    """Opening an object, again where that may help."""

    __slots__ = ("_ahead", "_path", "_retrier", "_store")

    def __init__(self, store: Store, retrier: Retrier, path: str, ahead: RangeSpec) -> None:
        self._store = store
        self._retrier = retrier
        self._path = path
        self._ahead = ahead
        self._opening: AbstractAsyncContextManager[Reading]

    async def __aenter__(self) -> Reading:
        try:
            reading = await self._open()
        except PannierError as error:
            return await self._retrier.again(error, "open", self._open)
        self._retrier.succeeded()
        return reading

    def _open(self) -> Awaitable[Reading]:
        self._opening = self._store.open(self._path, self._ahead)
        return self._opening.__aenter__()


class Deletion:
    """One deletion, however many tries it takes."""

    def __init__(self, store: Store, path: str, conditions: Conditions) -> None:
        self._store = store
        self._path = path
        self._conditions = conditions
        self._maybe_done = False

    async def attempt(self) -> bool:
        try:
            existed = await self._store.delete(self._path, self._conditions)
        except PreconditionFailed:
            if self._maybe_done and await self._gone():
                return True
            raise
        except PannierError as error:
            self._maybe_done = self._maybe_done or judge(error).maybe_done
            raise
        return existed or self._maybe_done

    async def _gone(self) -> bool:
        try:
            await self._store.head(self._path)
        except ObjectNotFound:
            return True
        return False
