"""Uploads that are late are sent once more, and whichever is stored first counts.

Nobody can call back what a store may have been sent to its last byte. So the other goes on, and
what changes the same path through this gateway waits for its end: a late write never comes after a
later one.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.resilience.failures import judge
from pannier_gateway.resilience.hedging import MOST_EXTRA_TRIES, Hedging, Lane, failed_in_passing
from pannier_gateway.stores.around import StoreAround
from pannier_gateway.stores.base import Draft, Record, Source, Store

GHOST_SECONDS = 5.0  # that are left to one that another has overtaken

T = TypeVar("T")


class Ghosts:
    """Uploads under way that nobody waits for any more, by path; given up after so many seconds."""

    def __init__(self, seconds: float = GHOST_SECONDS) -> None:
        self.seconds = seconds
        self._at: dict[str, set[asyncio.Task[object]]] = {}

    def __repr__(self) -> str:
        return f"<Ghosts at {len(self._at)} paths>"

    def leave(self, path: str, task: "asyncio.Task[T]") -> None:
        self._at.setdefault(path, set()).add(task)
        end = asyncio.get_running_loop().call_later(self.seconds, task.cancel)
        task.add_done_callback(partial(self._ended, path, end))

    async def sent(
        self,
        hedging: Hedging,
        size: int,
        path: str | None,
        send: Callable[[], Coroutine[object, object, T]],
    ) -> T:
        """What `send` returns, done twice where it is late. `path` is what it replaces; None: there
        is nothing that the other could undo, so it is cancelled."""
        if not hedging.policy.enabled:
            return await send()
        doubled = Doubled(hedging, hedging.put(size), send)
        try:
            return await doubled.run()
        finally:
            for task in doubled.running:
                self.leave(path, task) if path is not None else task.cancel()

    async def gone(self, path: str) -> None:
        """Until none can come after what is written now."""
        while tasks := self._at.get(path):
            await asyncio.wait(tasks)

    def _ended(self, path: str, end: asyncio.TimerHandle, task: "asyncio.Task[object]") -> None:
        end.cancel()
        if not task.cancelled():
            task.exception()  # whatever it was, another has stored the same
        self._at[path].discard(task)
        if not self._at[path]:
            del self._at[path]


class Doubled(Generic[T]):
    """One upload, which may be sent twice: `send` does it once.

    `running` are those that are still under way after `run` has returned.
    """

    def __init__(
        self, hedging: Hedging, lane: Lane, send: Callable[[], Coroutine[object, object, T]]
    ) -> None:
        self.settled = self.postponed = False
        self._hedging = hedging
        self._lane = lane
        self._send = send
        self._tries: list[asyncio.Task[T]] = []
        self._stored: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> "list[asyncio.Task[T]]":
        return [each for each in self._tries if not each.done()]

    async def run(self) -> T:
        """What the first that goes well returns. Raises, when all have failed, what says most."""
        hedging, started = self._hedging, monotonic()
        hedging.asked()
        self._try()
        self._lane.alarm.watch(self, started, hedging.delay(self._lane))
        try:
            stored = await self._stored
        except asyncio.CancelledError:
            for each in self._tries:
                each.cancel()
            raise
        finally:
            self.settled = True
            hedging.settled()
        hedging.answered(self._lane, started)
        return stored

    def ring(self) -> None:
        """It is late: send it once more, if that may be."""
        hedging, lane = self._hedging, self._lane
        if self._stored.done():
            return  # whoever asked is about to hear of it
        if len(self._tries) > MOST_EXTRA_TRIES or hedging.postpones(self, lane):
            return
        if hedging.allowed(lane.operation):
            self._try()
            hedging.look_later(self, lane)

    def _try(self) -> None:
        self._tries.append(self._hedging.begin(self._send()))
        self._tries[-1].add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[T]") -> None:
        failed = task.cancelled() or task.exception() is not None  # looked at, or asyncio complains
        if self._stored.done():
            return
        if not failed:
            self._count("lost" if task is self._tries[0] else "won")
            self._stored.set_result(task.result())
        elif not self.running:
            self._count("failed")
            self._fail()
        elif task is not self._tries[0] and failed_in_passing(task):
            self.ring()

    def _fail(self) -> None:
        ended = [each for each in self._tries if not each.cancelled()]
        errors = [error for each in ended if (error := each.exception())]
        if errors:
            self._stored.set_exception(telling(errors))
        else:
            self._stored.cancel()

    def _count(self, outcome: str) -> None:
        if len(self._tries) > 1:
            self._hedging.count(self._lane.operation, outcome)


class LateStore(StoreAround):
    """The Store seam around another store, some of whose uploads are late.

    Where the policy lets whole objects be sent twice. Those of bodies at hand: who has but parts of
    one sees to those, see `Resilience.again`. And those without conditions: the other would only
    find that it had been overtaken.
    """

    def __init__(self, store: Store, hedging: Hedging, ghosts: Ghosts) -> None:
        super().__init__(store)
        self._hedging = hedging
        self._ghosts = ghosts

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        await self._ghosts.gone(path)
        send = partial(self._store.put, path, source, draft, conditions)
        if source.whole is None or conditions.guards_writes or not self._hedging.policy.uploads:
            return await send()
        return await self._ghosts.sent(self._hedging, len(source.whole), path, send)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        await self._ghosts.gone(path)
        return await self._store.delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        await self._ghosts.gone(path)
        return await self._store.touch(path, etag, expires)


def telling(errors: list[BaseException]) -> BaseException:
    """The error that leaves it open whether the upload is stored, if there is one, else the first:
    what one of them has stored may be what another was refused for."""
    return next((error for error in errors if judge(error).maybe_done), errors[0])
