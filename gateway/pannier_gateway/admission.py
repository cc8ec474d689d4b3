"""How much of a usecase is let in: requests a second, requests at once, bytes a second.

A request over a limit is refused at once, for a queue would hide an overload and spread it. Bytes
are paced: what has been let in is finished, only slower.
"""

import asyncio
from collections.abc import Callable, Iterable
from math import ceil
from time import monotonic

from pannier_gateway.config.model import Limits, UsecaseConfig
from pannier_gateway.errors import LimitReached

Now = Callable[[], float]  # seconds, from any beginning on
Count = Callable[[str, str, int], None]  # counts refusals: the usecase, the limit, how many more

LIMITS = ("requestsPerSecond", "bytesPerSecond", "concurrentRequests")
ROUNDING = 1e-9  # seconds: what floats make of a moment that has just come
PIECES_A_SECOND = 8  # that a paced body goes in, so that nobody takes it for dead
MOMENT = 1 / PIECES_A_SECOND  # seconds until a wait takes note of what has changed meanwhile
LONGEST_ARREARS = 10.0  # seconds that bodies may be behind before no more of them are let in


class Account:
    """So much a second, saved up for one second at most. What is taken beyond that is owed."""

    __slots__ = ("_at", "_level", "_taken", "rate")

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._level = float(rate)
        self._taken = 0  # ever
        self._at = now

    def __repr__(self) -> str:
        return f"<Account {self._level:.0f}/{self.rate}>"

    def wait(self, amount: float, now: float) -> float:
        """Seconds until there is that much; 0 stands for the end of all debt."""
        self._refill(now)
        seconds = (amount - self._level) / self.rate
        return seconds if seconds > ROUNDING else 0.0

    def take(self, amount: int, now: float) -> int:
        """Take that much; what to ask `due` with."""
        self._refill(now)
        self._level -= amount
        self._taken += amount
        return self._taken

    def due(self, taken: int, now: float) -> float:
        """Seconds until nothing is owed for all up to there; 0 stands for no more."""
        return self.wait(taken - self._taken, now)

    def change(self, rate: int, now: float) -> None:
        """What is saved up stays the same part of a second's worth; what is owed stays as much."""
        self._refill(now)
        if self._level > 0:
            self._level *= rate / self.rate
        self.rate = rate

    def _refill(self, now: float) -> None:
        self._level = min(float(self.rate), self._level + (now - self._at) * self.rate)
        self._at = now


class Pacer:
    """Spreads the bytes of a usecase's bodies, in and out together, over time.

    Bodies hold on to it while limits change; `account` is None while there is none on bytes.
    """

    __slots__ = ("_now", "account")

    def __init__(self, now: Now) -> None:
        self.account: Account | None = None
        self._now = now

    def __repr__(self) -> str:
        return f"<Pacer {self.account}>"

    async def spend(self, size: int, in_vain: Callable[[], bool] = lambda: False) -> int:
        """Wait until some of `size` bytes may go on; how many.

        The wait ends early once it is `in_vain`, and once bytes have no limit any more.
        """
        account = self.account
        if account is None:
            return size
        piece = min(size, max(1, account.rate // PIECES_A_SECOND))
        taken = account.take(piece, self._now())
        while self.account is account and (seconds := account.due(taken, self._now())):
            if in_vain():
                break
            await asyncio.sleep(min(seconds, MOMENT))
        return piece


class Gate:
    """The limits of one usecase, as a `with` block around each of its requests.

    The way in raises LimitReached.
    """

    __slots__ = ("_count", "_most", "_name", "_now", "_requests", "in_flight", "pacer")

    def __init__(self, usecase: UsecaseConfig, count: Count, now: Now = monotonic) -> None:
        self._name = usecase.name
        self._count = count
        self._now = now
        self._most: int | None = None  # requests at once
        self._requests: Account | None = None
        self.pacer = Pacer(now)
        self.in_flight = 0
        self.change(usecase.limits)
        for limit in LIMITS:
            count(self._name, limit, 0)

    def __repr__(self) -> str:
        return f"<Gate of {self._name} {self.in_flight}/{self._most} {self._requests} {self.pacer}>"

    def __enter__(self) -> None:
        if self._most is not None and self.in_flight >= self._most:
            raise self._refusal("concurrentRequests", self._most, 1.0)
        if self._requests is not None:
            self._take_one(self._requests, self._now())
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1

    def change(self, limits: Limits) -> None:
        """From now on these count; what is in flight and what has been used count on."""
        now = self._now()
        self._most = limits.concurrent_requests
        self._requests = changed(self._requests, limits.requests_per_second, now)
        self.pacer.account = changed(self.pacer.account, limits.bytes_per_second, now)

    def demand_progress(self) -> None:
        """For a request that brings or fetches a body.

        Raises LimitReached while the bodies before it are too far behind.
        """
        account = self.pacer.account
        if account is None:
            return
        behind = account.wait(0, self._now())
        if behind > LONGEST_ARREARS:
            raise self._refusal("bytesPerSecond", account.rate, behind - LONGEST_ARREARS)

    def _take_one(self, account: Account, now: float) -> None:
        """Raises LimitReached where not a whole request is left."""
        seconds = account.wait(1, now)
        if seconds:
            raise self._refusal("requestsPerSecond", account.rate, seconds)
        account.take(1, now)

    def _refusal(self, limit: str, value: int, seconds: float) -> LimitReached:
        self._count(self._name, limit, 1)
        return LimitReached(
            f"usecase {self._name!r} is at its limits.{limit} of {value}", max(1, ceil(seconds))
        )


class Admission:
    """The gates of all usecases, limited or not: a limit that comes counts what is in flight then.

    A gate outlives changes of the configuration.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._gates: dict[str, Gate] = {}

    def __repr__(self) -> str:
        return f"<Admission {list(self._gates.values())}>"

    def gates(self, usecases: Iterable[UsecaseConfig]) -> dict[str, Gate]:
        """The gate of each usecase; what is gone may come back before its last request ends."""
        gates = {each.name: self._gate(each) for each in usecases}
        in_use = {name: gate for name, gate in self._gates.items() if gate.in_flight}
        self._gates = in_use | gates
        return gates

    def _gate(self, usecase: UsecaseConfig) -> Gate:
        gate = self._gates.get(usecase.name)
        if gate is None:
            return Gate(usecase, self._count)
        gate.change(usecase.limits)
        return gate


def changed(account: Account | None, rate: int | None, now: float) -> Account | None:
    """The account under a new rate: the same one, unless there was none or is none now."""
    if rate is None:
        return None
    if account is None:
        return Account(rate, now)
    account.change(rate, now)
    return account
