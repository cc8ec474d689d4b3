"""Stores that fail by script, time that passes when somebody sleeps, alarms that ring when told."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import StoreBusy, StoreTimedOut, StoreUnavailable
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.alarm import Late
from pannier_gateway.stores.base import Draft, Listing, Page, Reading, Record, Source, Store
from pannier_gateway.upstream.errors import (
    AnswerCut,
    ConnectFailed,
    ExchangeError,
    FirstByteTimedOut,
    KeptAliveDied,
)
from support.hostile import Pieces, Wrapped


class VirtualTime:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class ManualAlarm:
    """Rings when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Late, float]] = []

    def watch(self, late: Late, now: float, seconds: float) -> None:
        self.waiting.append((late, now + seconds))

    def ring(self) -> None:
        waiting, self.waiting = self.waiting, []
        for late, _ in waiting:
            if not late.settled:
                late.ring()


def caused(error: Exception, cause: ExchangeError) -> Exception:
    """`error` as a driver raises it."""
    error.__cause__ = cause
    return error


def unreachable() -> Exception:
    return caused(StoreUnavailable("can't be reached"), ConnectFailed("nobody there"))


def dead() -> Exception:
    return caused(StoreUnavailable("gone"), KeptAliveDied("closed"))


def broken_off() -> Exception:
    return caused(StoreUnavailable("broke off"), AnswerCut("too early", 1))


def silent() -> Exception:
    return caused(StoreTimedOut("no answer"), FirstByteTimedOut("in time"))


def busy(wait: float | None = None) -> Exception:
    return StoreBusy("slow down", wait)


class Fault(NamedTuple):
    """Something that goes wrong.

    `done`: only the answer is lost; `read`: a body is read to its end, and not stored.
    """

    error: Exception
    done: bool = False
    read: bool = False


class FaultyStore(Wrapped):
    """Meets each operation with the next fault, until there are none left. Keeps count."""

    def __init__(self, store: Store, faults: Iterable[Fault | None] = ()) -> None:
        super().__init__(store)
        self.faults = deque(faults)
        self.asked: list[str] = []

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        with self._meeting("open"):
            pass
        async with self._store.open(path, ahead) as reading:
            yield reading

    async def head(self, path: str) -> Record:
        with self._meeting("head"):
            return await super().head(path)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        if self.faults and self.faults[0] is not None and self.faults[0].read:
            async for _ in source:
                pass
            draft()
        with self._meeting("put"):
            return await self._store.put(path, source, draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        with self._meeting("delete"):
            return await super().delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        with self._meeting("touch"):
            return await super().touch(path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        with self._meeting("list"):
            return await super().list(listing)

    @contextmanager
    def _meeting(self, operation: str) -> Iterator[None]:
        self.asked.append(operation)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not fault.done:
            raise fault.error
        yield
        if fault is not None:
            raise fault.error


class CuttingStore(Wrapped):
    """Breaks readings off: each `chunks` after as many bytes as the script says next.

    `error` None: the body just ends there, as if that were all.
    """

    def __init__(
        self, store: Store, cuts: Iterable[int], error: Callable[[], Exception] | None
    ) -> None:
        super().__init__(store)
        self._cuts = deque(cuts)
        self._error = error
        self.starts: list[int] = []

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        self.starts.append(start)
        left = self._cuts.popleft() if self._cuts else None
        async for piece in pieces:
            if left is not None and len(piece) > left:
                if left:
                    yield piece[:left]
                if self._error is not None:
                    raise self._error()
                return
            left = None if left is None else left - len(piece)
            yield piece
