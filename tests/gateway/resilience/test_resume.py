"""Downloads that go on where they broke off."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import (
    Damaged,
    ObjectReplaced,
    PannierError,
    StoreRefused,
)
from pannier_gateway.resilience.failures import Failure
from pannier_gateway.resilience.resume import Course, ResumePolicy, Resumer, ResumeStore
from pannier_gateway.resilience.retry import Timing
from pannier_gateway.span import Span
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import CuttingStore, VirtualTime, busy, silent, unreachable
from support.hostile import Pieces, Wrapped
from support.stores import ManualClock, put, read

KIB = 1024
BODY = bytes(range(251)) * 4000  # no period that a piece has: a splice would show
CUT = Failure("transient", "?")


class Trial:
    """A store whose downloads are cut by script, resumed in virtual time."""

    def __init__(
        self, cuts: Iterable[int], error: Callable[[], Exception] | None = unreachable
    ) -> None:
        self.time = VirtualTime()
        self.counted: list[tuple[str, str]] = []
        self.base = MemoryStore(ManualClock())
        self.cutting = CuttingStore(self.base, cuts, error)
        timing = Timing(self.time.now, self.time.sleep, lambda: 1.0)
        resumer = Resumer(lambda *what: self.counted.append(what), ResumePolicy(), timing)
        self.store = ResumeStore(self.cutting, resumer)

    async def read(self, span: Span | None = None) -> bytes:
        await put(self.base, "k", BODY)
        return await read(self.store, "k", span)


# Whether to go on: pure


def test_progress_gives_the_attempts_back() -> None:
    course = Course(ResumePolicy(), 0)

    for _ in range(1000):
        course.at += 64 * KIB
        assert course.broke(CUT, 0.0) is None


def test_attempts_without_progress_come_to_an_end() -> None:
    course = Course(ResumePolicy(), 0)

    ends = [course.broke(CUT, 0.0) for _ in range(8)]

    assert ends == [*[None] * 7, "no progress"]


def test_time_without_progress_comes_to_an_end_and_time_with_it_does_not() -> None:
    course = Course(ResumePolicy(), 0)
    course.at += 64 * KIB

    assert course.broke(CUT, 1000.0) is None
    assert course.broke(CUT, 1061.0) == "no progress"


@given(st.lists(st.integers(0, 200 * KIB), max_size=50))
def test_a_course_never_goes_on_more_often_than_its_progress_allows(gains: list[int]) -> None:
    course, on = Course(ResumePolicy(), 0), 0
    for gain in gains:
        course.at += gain
        if course.broke(CUT, 0.0) is not None:
            break
        on += 1

    assert on <= 12 * (1 + sum(gain >= 64 * KIB for gain in gains))


# Going on


@given(cuts=st.lists(st.integers(64 * KIB, 300 * KIB), max_size=8), data=st.data())
async def test_whoever_reads_gets_every_byte_once(cuts: list[int], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(BODY)))
    stop = data.draw(st.integers(start, len(BODY)))
    trial = Trial(cuts)

    assert await trial.read(Span(start, stop)) == BODY[start:stop]


async def test_only_what_is_left_is_asked_for() -> None:
    trial = Trial([100_000, 200_000])

    assert await trial.read() == BODY
    assert trial.cutting.starts == [0, 100_000, 300_000]
    assert trial.counted == [("ConnectFailed", "failed"), ("ConnectFailed", "ok")]
    assert trial.time.slept == []


async def test_a_body_that_just_ends_too_early_is_not_taken_for_a_whole_one() -> None:
    trial = Trial([100_000, 0], error=None)

    assert await trial.read() == BODY
    assert trial.counted[-1] == ("StoreUnavailable", "ok")


async def test_a_download_that_gets_nowhere_is_given_up_after_longer_and_longer_waits() -> None:
    trial = Trial([100_000, *[0] * 20], error=silent)

    with pytest.raises(PannierError):
        await trial.read()
    assert trial.cutting.starts == [0, *[100_000] * 7]
    assert trial.time.slept == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4]
    assert trial.counted[-1] == ("FirstByteTimedOut", "no progress")


async def test_a_store_that_says_when_is_asked_then() -> None:
    trial = Trial([100_000], error=lambda: busy(4.0))

    assert await trial.read() == BODY
    assert trial.time.slept == [4.0]


@pytest.mark.parametrize("error", [ObjectReplaced("new"), StoreRefused("no"), Damaged("rot")])
async def test_what_can_not_be_mended_ends_the_download_at_once(error: PannierError) -> None:
    trial = Trial([100_000], error=lambda: error)
    await put(trial.base, "k", BODY)

    got = bytearray()
    with pytest.raises(type(error)):
        await gather(trial.store, got)
    assert got == BODY[:100_000]
    assert trial.counted == []


async def gather(store: ResumeStore, got: bytearray) -> None:
    """Read what there is, and keep it whatever happens then."""
    async with store.open("k") as reading:
        async for piece in reading.chunks(Span(0, len(BODY))):
            got += piece


async def test_an_object_that_is_replaced_while_it_is_resumed_is_never_spliced() -> None:
    class Versioned(CuttingStore):
        """Knows that the object has changed when it is asked again, as a driver does."""

        async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
            if self.starts:
                raise ObjectReplaced("if-match does not match")
            async for piece in super().outgoing(pieces, start):
                yield piece

    trial = Trial([])
    await put(trial.base, "k", BODY)
    cutting = Versioned(trial.base, [100_000], unreachable)
    store = ResumeStore(cutting, Resumer(lambda *_: None))

    with pytest.raises(ObjectReplaced):
        await read(store, "k")


async def test_more_bytes_than_were_asked_for_are_damage() -> None:
    class Generous(Wrapped):
        async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
            async for piece in pieces:
                yield piece
            yield b"more"

    trial = Trial([])
    await put(trial.base, "k", BODY)
    store = ResumeStore(Generous(trial.base), Resumer(lambda *_: None))

    with pytest.raises(Damaged):
        await read(store, "k")


async def test_a_body_at_hand_is_passed_on_as_it_is() -> None:
    base = MemoryStore(ManualClock())
    await put(base, "k", b"small")
    store = ResumeStore(base, Resumer(lambda *_: None))

    async with base.open("k") as bare, store.open("k") as resumed:
        assert resumed is bare
