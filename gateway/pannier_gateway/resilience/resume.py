"""Downloads that go on where they broke off, unseen by whoever reads them.

What is left is asked of the same reading: the seam promises that its bytes stay those of one
version, so a driver asks with the version's tag and accepts nothing but the exact range. An object
that has been replaced ends the download; it is never spliced. One that has stalled is left as if it
had broken off.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from msgspec import Struct

from pannier_gateway.errors import Damaged, PannierError, StoreUnavailable
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.failures import Failure, judge
from pannier_gateway.resilience.retry import TIMING, Timing
from pannier_gateway.resilience.stalls import Stalled, Stalls
from pannier_gateway.span import Span
from pannier_gateway.stores.around import OpeningAround, StoreAround
from pannier_gateway.stores.base import Buffer, Reading, Store

Count = Callable[[str, str], None]  # the reason of a break, and what became of it


class ResumePolicy(Struct, frozen=True):
    """How often to go on. `attempts` begin anew with every `progress` bytes; seconds otherwise.

    An attempt that broke off before that costs two, and waits: much has gone into a download, so a
    store that starts anew is waited for. There are no more of them than there are downloads, so no
    budget is needed besides.
    """

    attempts: int = 12
    progress: int = 64 * 1024
    base: float = 0.2
    cap: float = 10.0
    patience: float = 60.0  # without progress
    longest_wait: float = 30.0  # that a store may ask for


RESUMING = ResumePolicy()


class Course:
    """How a download fares: where it is, and whether to go on after it broke off."""

    def __init__(self, policy: ResumePolicy, at: int) -> None:
        self.at = at
        self.fruitless = 0  # attempts in a row
        self._policy = policy
        self._left = policy.attempts
        self._broke_at = at - policy.progress  # the first break is as good as any
        self._since = 0.0

    def __repr__(self) -> str:
        return f"<Course at {self.at}, {self._left} attempts left>"

    def broke(self, failure: Failure, now: float) -> str | None:
        """Take note of a break; why there is no going on, if so, as metrics name it."""
        if self.at - self._broke_at >= self._policy.progress:
            self._left, self._since, self.fruitless = self._policy.attempts, now, 0
        else:
            self.fruitless += 1
        self._broke_at = self.at
        if failure.kind == "permanent":
            return "permanent"
        if self._left <= 0 or now - self._since > self._policy.patience:
            return "no progress"
        if (failure.wait or 0.0) > self._policy.longest_wait:
            return "told to wait too long"
        self._left -= 2 if self.fruitless else 1
        return None


class Resumer:
    """Decides for one bucket."""

    def __init__(
        self,
        count: Count,
        policy: ResumePolicy = RESUMING,
        timing: Timing = TIMING,
        stalls: Stalls | None = None,
    ) -> None:
        self.policy = policy
        self.count = count
        self.stalls = stalls or Stalls()
        self._timing = timing

    def __repr__(self) -> str:
        return f"<Resumer {self.policy}>"

    async def go_on(self, course: Course, error: PannierError) -> Failure:
        """Wait until it is time to. Raises `error` where it will never be."""
        failure = judge(error)
        refusal = course.broke(failure, self._timing.now())
        if failure.kind == "permanent":
            raise error
        if refusal is not None:
            self.count(failure.reason, refusal)
            raise error
        seconds = max(failure.wait or 0.0, self._backoff(course.fruitless))
        if seconds and not isinstance(error, Stalled):
            await self._timing.sleep(seconds)
        return failure

    def _backoff(self, fruitless: int) -> float:
        """Seconds; none where the attempt before has brought something."""
        if not fruitless:
            return 0.0
        longest = min(self.policy.cap, self.policy.base * 2 ** (fruitless - 1))
        return float(longest * self._timing.chance())


class ResumeStore(StoreAround):
    """The Store seam around another store whose downloads break off."""

    def __init__(self, store: Store, resumer: Resumer) -> None:
        super().__init__(store)
        self._resumer = resumer

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> "ResumedOpening":
        return ResumedOpening(self._store.open(path, ahead), self._resumer)


class ResumedOpening(OpeningAround):
    """Opening an object; one that is at hand at once needs nothing further."""

    __slots__ = ("_resumer",)

    def __init__(self, opening: AbstractAsyncContextManager[Reading], resumer: Resumer) -> None:
        self._opening = opening
        self._resumer = resumer

    async def __aenter__(self) -> Reading:
        reading = await self._opening.__aenter__()
        return ResumedReading(reading, self._resumer) if reading.whole is None else reading


class ResumedReading:
    """An object held open, whose bytes come to their end however often they break off."""

    whole: bytes | None = None

    def __init__(self, reading: Reading, resumer: Resumer) -> None:
        self.record = reading.record
        self._reading = reading
        self._resumer = resumer

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        """The bytes of `span`, each once. Raises what can't be mended."""
        course = Course(self._resumer.policy, span.start)
        self._resumer.stalls.begun()
        mended: Failure | None = None  # what the attempt under way is to mend
        while course.at < span.stop:
            try:
                async with aclosing(self._attempt(course, span.stop)) as pieces:
                    async for piece in pieces:
                        yield piece
            except PannierError as error:
                if mended is not None:
                    self._resumer.count(mended.reason, "failed")
                mended = await self._resumer.go_on(course, error)
        if mended is not None:
            self._resumer.count(mended.reason, "ok")

    async def _attempt(self, course: Course, stop: int) -> AsyncGenerator[Buffer, None]:
        """What is left, as far as it comes. Raises StoreUnavailable where it ends too early."""
        stalls = self._resumer.stalls
        patience = stalls.patience(course.fruitless)
        async with aclosing(self._reading.chunks(Span(course.at, stop))) as pieces:
            while (piece := await stalls.next(pieces, patience)) is not None:
                course.at += len(piece)
                if course.at > stop:
                    raise Damaged(f"{self.record.path!r}: more bytes came than were asked for")
                yield piece
        if course.at < stop:
            missing = stop - course.at
            raise StoreUnavailable(f"{self.record.path!r} ended {missing} bytes too early")
