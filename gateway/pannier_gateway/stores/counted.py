"""A store whose operations are timed and counted."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from types import TracebackType

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import PannierError
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.around import OpeningAround
from pannier_gateway.stores.base import Draft, Listing, Page, Reading, Record, Source, Store

Observe = Callable[[str, str, float], None]


class CountedStore:
    """The Store seam around another store. `observe` gets operation, outcome and seconds.

    The outcome is `ok`, the name of a PannierError, or `aborted` for anything else.
    """

    def __init__(self, store: Store, observe: Observe) -> None:
        self._store = store
        self._observe = observe

    def __repr__(self) -> str:
        return f"<CountedStore {self._store!r}>"

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> "TimedOpening":
        return TimedOpening(self._store.open(path, ahead), self._observe)

    async def head(self, path: str) -> Record:
        with self._timed("head"):
            return await self._store.head(path)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        with self._timed("put"):
            return await self._store.put(path, source, draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        with self._timed("delete"):
            return await self._store.delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        with self._timed("touch"):
            return await self._store.touch(path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        with self._timed("list"):
            return await self._store.list(listing)

    def _timed(self, operation: str) -> "Timed":
        return Timed(operation, self._observe)


class Timed:
    """A span of time; how it ended is its outcome."""

    __slots__ = ("_observe", "_operation", "_started")

    def __init__(self, operation: str, observe: Observe) -> None:
        self._operation = operation
        self._observe = observe

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outcome = "ok" if kind is None else outcome_of(kind)
        self._observe(self._operation, outcome, perf_counter() - self._started)


class TimedOpening(OpeningAround):
    """Opening an object, timed until it is open."""

    __slots__ = ("_observe",)

    def __init__(self, opening: AbstractAsyncContextManager[Reading], observe: Observe) -> None:
        self._opening = opening
        self._observe = observe

    async def __aenter__(self) -> Reading:
        with Timed("open", self._observe):
            return await self._opening.__aenter__()


def outcome_of(kind: type[BaseException]) -> str:
    return kind.__name__ if issubclass(kind, PannierError) else "aborted"
