"""Reads that are late are asked for once more, and the first answer is taken.

The first try runs in the task of whoever asked, so a read that is in time costs no task; one that
loses is cancelled as `asyncio.timeout` would. The second finds its own endpoint: see `balance`.
"""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from operator import itemgetter
from time import monotonic
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from pannier_gateway.errors import ClientError, PannierError
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.allowance import Allowance
from pannier_gateway.resilience.failures import judge
from pannier_gateway.resilience.times import Times
from pannier_gateway.stores.around import OpeningAround, StoreAround
from pannier_gateway.stores.base import Listing, Page, Reading, Record, Store

LARGE = 1 << 20  # bytes of an upload
MOST_EXTRA_TRIES = 5  # of one read or upload: another only in place of one that failed
LOOP_LATE = 0.01  # seconds that a timer may be late before it is the loop that was late
CROWD = 4  # under way at once, of whom some should have been answered meanwhile

T = TypeVar("T")

Count = Callable[[str, str], None]  # what was asked, the outcome


class HedgePolicy(Struct, frozen=True):
    """When to ask once more. Times in seconds; `share` of all that is asked at most, `burst` in a
    row. `uploads`: whole objects are sent twice too, which another writer may not bear.

    The delay is what 95 of a hundred take, at most `times` what half of them do (where more than
    five stall, those must not count), not below `floor`; until that is known `unknown`, and of
    large uploads, for which a store may be asked first, `unknown_large`.
    """

    enabled: bool = True
    floor: float = 0.05
    times: float = 4.0
    unknown: float = 0.5
    unknown_large: float = 2.0
    share: float = 0.05
    burst: int = 50
    uploads: bool = False


class Late(Protocol):
    """Somebody whose time may be over; `postponed`: it was, and there is little to spend."""

    settled: bool
    postponed: bool

    def ring(self) -> None: ...


class Alarm:
    """One timer for all who wait equally long, or nearly so.

    Where the loop was late, the answers may be there: they are read before anybody is rung for.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Late]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_again = False

    def __repr__(self) -> str:
        return f"<Alarm for {len(self._waiting)}>"

    def watch(self, late: Late, now: float, seconds: float) -> None:
        """Have `late` rung in so many seconds, unless it has settled by then."""
        waiting = self._waiting
        while waiting and waiting[0][1].settled:  # most have by the time that the next one comes
            waiting.popleft()
        if waiting and now + seconds < waiting[-1][0]:
            self._overtake(late, now, seconds)
        else:
            waiting.append((now + seconds, late))
        if self._timer is None:
            self._wait(seconds)

    def _overtake(self, late: Late, now: float, seconds: float) -> None:
        """The delay has become shorter: who came before does not keep this one waiting."""
        insort(self._waiting, (now + seconds, late), key=itemgetter(0))
        if self._timer is not None and self._waiting[0][1] is late:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        now = monotonic()
        loop_late = bool(self._waiting) and now - self._waiting[0][0] > LOOP_LATE
        self._looks_again = loop_late and not self._looks_again
        if self._looks_again:
            self._wait(LOOP_LATE / 10)  # not 0: what has come is read before that
            return
        while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].settled):
            _, late = self._waiting.popleft()
            if not late.settled:
                late.ring()
        if self._waiting:
            self._wait(self._waiting[0][0] - now)

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)


class Watching(Protocol):
    """An Alarm, or what a test has in its place."""

    def watch(self, late: Late, now: float, seconds: float) -> None: ...


class Lane:
    """What is late among operations of one kind; `like` is one that is no faster, and better known
    at first."""

    __slots__ = ("alarm", "large", "later", "like", "operation", "times")

    def __init__(
        self,
        operation: str,
        alarm: Callable[[], Watching],
        *,
        large: bool = False,
        like: "Lane | None" = None,
    ) -> None:
        self.operation = operation
        self.large = large
        self.like = like
        self.alarm = alarm()
        self.later = alarm()
        self.times = Times()


class Hedging:
    """Decides for one bucket. `room` says whether the store can take more than it has to."""

    def __init__(
        self,
        policy: HedgePolicy,
        count: Count,
        room: Callable[[], bool],
        alarm: Callable[[], Watching] = Alarm,
    ) -> None:
        self.policy = policy
        self.count = count
        self.open = Lane("open", alarm)
        self.head = Lane("head", alarm, like=self.open)
        self.list = Lane("list", alarm)
        self._alarm = alarm
        self._puts: dict[int, Lane] = {}
        self._room = room
        self._allowance = Allowance(policy.share, policy.burst)
        self._tasks: set[asyncio.Task[object]] = set()
        self._under_way = 0
        self._answered = 0.0  # when the last was

    def __repr__(self) -> str:
        return f"<Hedging after {self.delay(self.open):.3f} s, {self._allowance}>"

    def put(self, size: int) -> Lane:
        """Of uploads of about that many bytes: half as many, or twice."""
        magnitude = size.bit_length() // 2
        if magnitude not in self._puts:
            self._puts[magnitude] = Lane("put", self._alarm, large=size >= LARGE)
        return self._puts[magnitude]

    def delay(self, lane: Lane) -> float:
        """Seconds after which one is late."""
        policy, times = self.policy, lane.times
        if times.usual is None and lane.like is not None:
            times = lane.like.times
        unknown = policy.unknown_large if lane.large else policy.unknown
        slow = unknown if times.slow is None else times.slow
        most = slow if times.usual is None else policy.times * times.usual
        return max(policy.floor, min(slow, most))

    def asked(self) -> None:
        """There was a read, or an upload."""
        self._under_way += 1
        self._allowance.asked()

    def answered(self, lane: Lane, started: float) -> None:
        """The store has answered one of then."""
        self._answered = now = monotonic()
        lane.times.add(now - started, now)

    def settled(self) -> None:
        """One is over, however it ended."""
        self._under_way -= 1

    def postpones(self, late: Late, lane: Lane) -> bool:
        """Whether it has to be three times as late: the last that is left is for those who are, and
        where nobody is answered the second would wait as well."""
        if late.postponed or (self._allowance.plenty and not self._silent(lane)):
            return False
        late.postponed = True
        self.look_later(late, lane)
        return True

    def _silent(self, lane: Lane) -> bool:
        """Whether it is the store that is late, or the machine, and not this one alone."""
        silence = monotonic() - self._answered
        return self._under_way >= CROWD and silence >= self.delay(lane) / 2

    def look_later(self, late: Late, lane: Lane) -> None:
        lane.later.watch(late, monotonic(), 2 * self.delay(lane))

    def allowed(self, operation: str) -> bool:
        """Whether there may be a second now; it is paid for."""
        if not self._allowance.left:
            self.count(operation, "no budget")
            return False
        if not self._room():
            self.count(operation, "no room")
            return False
        self._allowance.take()
        return True

    def begin(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Race(Generic[T]):
    """One read, which may be asked for once more.

    `again` asks, `discard` gives back what nobody takes. `second_won` says whose answer it is in
    the end.
    """

    __slots__ = (
        "_again", "_cancels", "_discard", "_extra_tries", "_hedging", "_lane", "_second", "_task",
        "postponed", "second_won", "settled",
    )  # fmt: skip

    def __init__(
        self,
        hedging: Hedging,
        lane: Lane,
        again: Callable[[], Coroutine[object, object, T]],
        discard: Callable[[T], Coroutine[object, object, object]],
    ) -> None:
        self.settled = self.postponed = False
        self.second_won = False  # from then on the first is being cancelled
        self._hedging = hedging
        self._lane = lane
        self._again = again
        self._discard = discard
        self._extra_tries = 0
        self._second: asyncio.Task[T] | None = None

    async def run(self, first: Awaitable[T]) -> T:
        """The first answer. Raises what the first try does, where the second is no better."""
        hedging, lane = self._hedging, self._lane
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        started = monotonic()
        hedging.asked()
        lane.alarm.watch(self, started, hedging.delay(lane))
        try:
            answer = await first
            if self._second is not None:
                self._drop_second(self._second)
        except asyncio.CancelledError as cancelled:
            answer = self._answer_of_the_second(cancelled)
        except PannierError as error:
            if isinstance(error, ClientError):  # that there is nothing is an answer
                hedging.answered(lane, started)
            answer = await self._second_chance(error)
        finally:
            self.settled = True
            hedging.settled()
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
            self._second = hedging.begin(self._again())
            self._second.add_done_callback(self._second_ended)
            hedging.look_later(self, lane)
            if late is not None and not late.done():
                self._let_go(late, "failed")

    def _second_ended(self, second: asyncio.Task[T]) -> None:
        if self.settled or second is not self._second:
            return
        if answered(second):
            self.second_won = True
            self._task.cancel()
        elif failed_in_passing(second):
            self._hedging.count(self._lane.operation, "failed")
            self.ring()

    def _answer_of_the_second(self, cancelled: asyncio.CancelledError) -> T:
        """Raises `cancelled` where it is meant for whoever asked."""
        second = self._second
        if second is None:
            raise cancelled
        if not self.second_won or self._task.uncancel() > self._cancels:
            self._let_go(second, "lost")
            raise cancelled
        self._hedging.count(self._lane.operation, "won")
        return second.result()

    async def _second_chance(self, error: PannierError) -> T:
        """The second's answer in place of `error`, which is raised where there is none."""
        second, self.settled = self._second, True
        if second is None:
            raise error
        if self.second_won:
            self._task.uncancel()
        elif judge(error).kind == "permanent":
            self._let_go(second, "lost")
            raise error
        try:
            await asyncio.wait([second])
        except asyncio.CancelledError:
            self._let_go(second, "lost")
            raise
        if not answered(second):
            self._let_go(second, "failed")
            raise error
        self.second_won = True
        self._hedging.count(self._lane.operation, "won")
        return second.result()

    def _drop_second(self, second: asyncio.Task[T]) -> None:
        if self.second_won:  # both at the same moment: the one that is here is taken
            self._task.uncancel()
            self.second_won = False
        self._let_go(second, "lost")

    def _let_go(self, second: asyncio.Task[T], outcome: str) -> None:
        self._hedging.count(self._lane.operation, outcome)
        second.cancel()
        second.add_done_callback(self._give_back)

    def _give_back(self, second: asyncio.Task[T]) -> None:
        if not second.cancelled() and second.exception() is None:
            _ = self._hedging.begin(self._discard(second.result()))  # nobody waits


def answered(second: asyncio.Task[T]) -> bool:
    """Whether the store has answered it, if only that there is nothing; else the first goes on."""
    if second.cancelled():
        return False
    error = second.exception()
    return error is None or isinstance(error, ClientError)


def failed_in_passing(task: asyncio.Task[T]) -> bool:
    """Whether it failed in a way that another may not."""
    if task.cancelled() or (error := task.exception()) is None:
        return False
    return judge(error).kind == "transient"


class HedgeStore(StoreAround):
    """The Store seam around another store, some of whose reads are late."""

    def __init__(self, store: Store, hedging: Hedging) -> None:
        super().__init__(store)
        self._hedging = hedging

    def open(
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        if self._hedging.policy.enabled:
            return HedgedOpening(self._store, self._hedging, path, ahead)
        return self._store.open(path, ahead)

    async def head(self, path: str) -> Record:
        if not self._hedging.policy.enabled:
            return await self._store.head(path)

        async def head() -> Record:
            return await self._store.head(path)

        race = Race(self._hedging, self._hedging.head, head, nothing_held)
        return await race.run(head())

    async def list(self, listing: Listing) -> Page:
        if not self._hedging.policy.enabled:
            return await self._store.list(listing)

        async def page() -> Page:
            return await self._store.list(listing)

        race = Race(self._hedging, self._hedging.list, page, nothing_held)
        return await race.run(page())


async def nothing_held(_: Record | Page) -> None:
    """What is told needs no giving back."""


class HedgedOpening(OpeningAround):
    """Opening an object, twice where the first time is late."""

    __slots__ = ("_ahead", "_hedging", "_path", "_second", "_store")

    def __init__(self, store: Store, hedging: Hedging, path: str, ahead: RangeSpec) -> None:
        self._store = store
        self._hedging = hedging
        self._path = path
        self._ahead = ahead
        self._opening = store.open(path, ahead)
        self._second = self._opening

    async def __aenter__(self) -> Reading:
        race = Race(self._hedging, self._hedging.open, self._open_second, self._close_second)
        reading = await race.run(self._opening.__aenter__())
        if race.second_won:
            self._opening = self._second
        return reading

    async def _open_second(self) -> Reading:
        self._second = self._store.open(self._path, self._ahead)
        return await self._second.__aenter__()

    async def _close_second(self, _: Reading) -> None:
        await self._second.__aexit__(None, None, None)
