"""Reads that are late are asked for once more, and the first answer is taken.

The first try runs in the task of whoever asked, so a read that is in time costs no task; one that
loses is cancelled as `asyncio.timeout` would. The second finds its own endpoint: see `balance`.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from pannier_gateway.errors import ClientError, PannierError
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.failures import judge
from pannier_gateway.resilience.hedging import MOST_EXTRA_TRIES, Hedging, Lane, failed_in_passing
from pannier_gateway.stores.around import OpeningAround, StoreAround
from pannier_gateway.stores.base import Listing, Page, Reading, Record, Store

T = TypeVar("T")

Opening = AbstractAsyncContextManager[Reading]
Opened = tuple[Opening, Reading]


class Race(Generic[T]):
    """One read, which may be asked for once more: `ask` does it once, `discard` gives back what
    nobody takes."""

    __slots__ = (
        "_ask", "_cancelling", "_cancels", "_discard", "_extra_tries", "_hedging", "_lane",
        "_second", "_task", "postponed", "settled",
    )  # fmt: skip

    def __init__(
        self,
        hedging: Hedging,
        lane: Lane,
        ask: Callable[[], Coroutine[object, object, T]],
        discard: Callable[[T], Coroutine[object, object, object]],
    ) -> None:
        self.settled = self.postponed = False
        self._cancelling = False  # the first, as the second has answered
        self._hedging = hedging
        self._lane = lane
        self._ask = ask
        self._discard = discard
        self._extra_tries = 0
        self._second: asyncio.Task[T] | None = None  # that may still be taken

    async def run(self) -> T:
        """The first answer. Raises what the first try does, where the second is no better."""
        hedging, lane = self._hedging, self._lane
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        started = monotonic()
        hedging.asked()
        lane.alarm.watch(self, started, hedging.delay(lane))
        try:
            answer = await self._ask()
        except asyncio.CancelledError:
            if not (self._cancelling and self._call_off()):
                raise  # it is meant for whoever asked
            answer = self._take_second()
        except PannierError as error:
            if isinstance(error, ClientError):  # that there is nothing is an answer
                hedging.answered(lane, started)
            answer = await self._second_chance(error)
        finally:
            self.settled = True
            hedging.settled()
            if self._second is not None:
                self._drop_second(self._second)
        hedging.answered(lane, started)
        return answer

    def ring(self) -> None:
        """It is late: ask once more, if that may be, in place of a second that is late as well."""
        hedging, lane, late = self._hedging, self._lane, self._second
        if late is not None and late.done() and answered(late):
            return  # whoever asked is about to hear of it
        if self._extra_tries >= MOST_EXTRA_TRIES or hedging.postpones(self, lane):
            return
        if hedging.allowed(lane.operation):
            self._extra_tries += 1
            self._second = hedging.begin(self._ask())
            self._second.add_done_callback(self._second_ended)
            hedging.look_later(self, lane)
            if late is not None and not late.done():
                self._let_go(late, "failed")

    def _second_ended(self, second: asyncio.Task[T]) -> None:
        if self.settled or second is not self._second:
            return
        if answered(second):
            self._cancelling = True
            self._task.cancel()
        elif failed_in_passing(second):
            self._count("failed")
            self._second = None
            self.ring()

    def _call_off(self) -> bool:
        """Take the cancellation back; whether nobody else wishes for one."""
        self._cancelling = False
        return self._task.uncancel() <= self._cancels

    async def _second_chance(self, error: PannierError) -> T:
        """The second's answer in place of `error`, which is raised where there is none."""
        second, self.settled = self._second, True
        if second is None:
            raise error
        if self._cancelling:
            self._call_off()
        elif judge(error).kind == "permanent":
            raise error
        await asyncio.wait([second])
        if answered(second):
            return self._take_second()
        self._second = None
        self._count("failed")
        raise error

    def _take_second(self) -> T:
        second, self._second = self._second, None
        assert second is not None
        self._count("won")
        return second.result()

    def _drop_second(self, second: asyncio.Task[T]) -> None:
        if self._cancelling:  # both at the same moment: the one that is here is taken
            self._call_off()
        self._let_go(second, "lost")

    def _let_go(self, second: asyncio.Task[T], outcome: str) -> None:
        self._count(outcome)
        second.cancel()
        second.add_done_callback(self._give_back)

    def _give_back(self, second: asyncio.Task[T]) -> None:
        if not second.cancelled() and second.exception() is None:
            _ = self._hedging.begin(self._discard(second.result()))  # nobody waits

    def _count(self, outcome: str) -> None:
        self._hedging.count(self._lane.operation, outcome)


def answered(second: asyncio.Task[T]) -> bool:
    """Whether the store has answered it, if only that there is nothing; else the first goes on."""
    if second.cancelled():
        return False
    error = second.exception()
    return error is None or isinstance(error, ClientError)


class HedgeStore(StoreAround):
    """The Store seam around another store, some of whose reads are late."""

    def __init__(self, store: Store, hedging: Hedging) -> None:
        super().__init__(store)
        self._hedging = hedging

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> Opening:
        if self._hedging.policy.enabled:
            return HedgedOpening(self._store, self._hedging, path, ahead)
        return self._store.open(path, ahead)

    async def head(self, path: str) -> Record:
        return await self._told(self._hedging.head, partial(self._store.head, path))

    async def list(self, listing: Listing) -> Page:
        return await self._told(self._hedging.list, partial(self._store.list, listing))

    async def _told(self, lane: Lane, ask: Callable[[], Coroutine[object, object, T]]) -> T:
        if self._hedging.policy.enabled:
            return await Race(self._hedging, lane, ask, nothing_held).run()
        return await ask()


async def nothing_held(_: object) -> None:
    """What is told needs no giving back."""


class HedgedOpening(OpeningAround):
    """Opening an object, twice where the first time is late."""

    __slots__ = ("_ahead", "_hedging", "_path", "_store")

    def __init__(self, store: Store, hedging: Hedging, path: str, ahead: RangeSpec) -> None:
        self._store = store
        self._hedging = hedging
        self._path = path
        self._ahead = ahead

    async def __aenter__(self) -> Reading:
        race = Race(self._hedging, self._hedging.open, self._open, close)
        self._opening, reading = await race.run()
        return reading

    async def _open(self) -> Opened:
        opening = self._store.open(self._path, self._ahead)
        return opening, await opening.__aenter__()


async def close(opened: Opened) -> None:
    await opened[0].__aexit__(None, None, None)
