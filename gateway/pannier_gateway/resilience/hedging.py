"""What is late, and whether it may be asked for once more."""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import TypeVar

from msgspec import Struct

from pannier_gateway.resilience.alarm import Alarm, Late, Watching
from pannier_gateway.resilience.allowance import Allowance
from pannier_gateway.resilience.failures import judge
from pannier_gateway.resilience.times import Times

LARGE = 1 << 20  # bytes of an upload
MOST_EXTRA_TRIES = 5  # of one read or upload: another only in place of one that failed
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
    floor: float = 0.03
    times: float = 4.0
    unknown: float = 0.5
    unknown_large: float = 2.0
    share: float = 0.05
    burst: int = 50
    uploads: bool = False


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


def failed_in_passing(task: asyncio.Task[T]) -> bool:
    """Whether it failed in a way that another may not."""
    if task.cancelled() or (error := task.exception()) is None:
        return False
    return judge(error).kind == "transient"
