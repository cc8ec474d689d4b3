"""How much is asked of a store at once, and what waits or is turned away instead.

A slot is held until the first byte: that is the time from which the limit is learned. Bodies may
take as long as their readers do, so they are bounded by bytes instead.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from time import monotonic
from types import TracebackType
from typing import TypeVar

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import PannierError, StoreBusy, StoreTimedOut
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.gradient import Gradient
from pannier_gateway.resilience.lag import LagShedder
from pannier_gateway.resilience.waiting import Count, Queue
from pannier_gateway.stores.base import Draft, Listing, Page, Reading, Record, Source, Store

T = TypeVar("T")

BODIES = 64 << 20  # bytes that all bodies on their way may hold
STREAM = 256 * 1024  # bytes that one of them holds
ROOMY = 0.8  # of the limit, up to which more may be asked than has to be


class BodyBudget:
    """The memory of all bodies on their way, of all buckets together."""

    def __init__(self, count: Count, limit: int = BODIES) -> None:
        self.limit = limit
        self.used = 0
        self._queue = Queue("memory for bodies", count)

    def __repr__(self) -> str:
        return f"<BodyBudget {self.used}/{self.limit}>"

    async def take(self, *, write: bool) -> None:
        """Make room for one stream, to be given back. Raises Overloaded."""
        if self.used + STREAM > self.limit:
            await self._queue.wait(self.give_back, write=write)
        else:
            self.used += STREAM

    def give_back(self) -> None:
        if not self._queue.call():
            self.used -= STREAM


class Slots:
    """What one store is asked at once."""

    def __init__(self, count: Count, lag: LagShedder) -> None:
        self.gradient = Gradient()
        self.in_flight = 0
        self.queue = Queue("requests to the store", count)
        self._lag = lag

    def __repr__(self) -> str:
        return f"<Slots {self.in_flight}/{self.gradient.limit}, {self.queue}>"

    @property
    def roomy(self) -> bool:
        return self.in_flight < ROOMY * self.gradient.limit

    def enter(self, now: float, *, write: bool) -> bool:
        """Take a slot, to be given back; False: `wait` for one. Raises Overloaded."""
        if self._lag.refuses(now, self.in_flight, write=write):
            self.queue.refuse("write" if write else "read", "event loop late")
        if self.in_flight >= self.gradient.limit:
            return False
        self.in_flight += 1
        return True

    async def wait(self, *, write: bool) -> None:
        """Until there is a slot, to be given back. Raises Overloaded."""
        await self.queue.wait(self.give_back, write=write)

    def give_back(self) -> None:
        self.in_flight -= 1
        while self.in_flight < self.gradient.limit and self.queue.call():
            self.in_flight += 1

    def answered(self, started: float) -> None:
        self.gradient.answered(monotonic() - started, self.in_flight)

    def failed(self, error: PannierError) -> None:
        if isinstance(error, StoreBusy | StoreTimedOut):
            self.gradient.refused(monotonic())


class LimitStore:
    """The Store seam around another store, which is asked no more than it can take."""

    def __init__(self, store: Store, slots: Slots, bodies: BodyBudget) -> None:
        self._store = store
        self._slots = slots
        self._bodies = bodies

    def __repr__(self) -> str:
        return f"<LimitStore {self._slots} {self._store!r}>"

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> "LimitedOpening":
        return LimitedOpening(self._store.open(path, ahead), self._slots, self._bodies)

    async def head(self, path: str) -> Record:
        return await self._limited(lambda: self._store.head(path), write=False)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        if source.whole is not None:
            put = self._store.put
            return await self._limited(lambda: put(path, source, draft, conditions), write=True)
        if not self._slots.enter(monotonic(), write=True):
            await self._slots.wait(write=True)
        self._slots.give_back()  # its turn has come, and then it lasts as long as its sender does
        await self._bodies.take(write=True)
        try:
            return await self._store.put(path, source, draft, conditions)
        finally:
            self._bodies.give_back()

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        return await self._limited(lambda: self._store.delete(path, conditions), write=True)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        return await self._limited(lambda: self._store.touch(path, etag, expires), write=True)

    async def list(self, listing: Listing) -> Page:
        return await self._limited(lambda: self._store.list(listing), write=False)

    async def _limited(self, work: Callable[[], Awaitable[T]], *, write: bool) -> T:
        if not self._slots.enter(monotonic(), write=write):
            await self._slots.wait(write=write)
        try:
            return await work()
        except PannierError as error:
            self._slots.failed(error)
            raise
        finally:
            self._slots.give_back()


class LimitedOpening:
    """Opening an object when its turn has come; one that is streamed holds memory until the end."""

    __slots__ = ("_bodies", "_opening", "_slots", "_streams")

    def __init__(
        self, opening: AbstractAsyncContextManager[Reading], slots: Slots, bodies: BodyBudget
    ) -> None:
        self._opening = opening
        self._slots = slots
        self._bodies = bodies
        self._streams = False

    async def __aenter__(self) -> Reading:
        slots = self._slots
        started = monotonic()
        if not slots.enter(started, write=False):
            await slots.wait(write=False)
            started = monotonic()  # the store knows nothing of the wait before
        try:
            reading = await self._opening.__aenter__()
            slots.answered(started)
        except PannierError as error:
            slots.failed(error)
            raise
        finally:
            slots.give_back()
        if reading.whole is None:
            await self._hold_memory()
        return reading

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            return await self._opening.__aexit__(kind, error, trace)
        finally:
            if self._streams:
                self._bodies.give_back()

    async def _hold_memory(self) -> None:
        try:
            await self._bodies.take(write=False)
        except BaseException as error:
            await self._opening.__aexit__(type(error), error, error.__traceback__)
            raise
        self._streams = True
