"""Reads that are late are asked for once more."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import ObjectNotFound, Overloaded, StoreRefused, StoreUnavailable
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.hedge import HedgeStore
from pannier_gateway.resilience.hedging import CROWD, HedgePolicy, Hedging
from pannier_gateway.resilience.times import A_FEW, ENOUGH, EVERY, GENERATION_SECONDS, STEP, Times
from pannier_gateway.stores.base import Listing, Page, Reading, Record, Store
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import ManualAlarm, broken_off, unreachable
from support.hostile import Wrapped
from support.jumps import turns
from support.stores import ManualClock, put, read


class HeldStore(Wrapped):
    """Each read waits until it is let through, or fails as it is told; keeps count of them."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reads: list[asyncio.Future[None]] = []
        self.open_now = 0
        self.left = 0  # cancelled while they waited

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        await self._wait()
        async with super().open(path, ahead) as reading:
            self.open_now += 1
            try:
                yield reading
            finally:
                self.open_now -= 1

    async def head(self, path: str) -> Record:
        await self._wait()
        return await super().head(path)

    async def list(self, listing: Listing) -> Page:
        await self._wait()
        return await super().list(listing)

    async def _wait(self) -> None:
        self.reads.append(asyncio.get_running_loop().create_future())
        try:
            await self.reads[-1]
        except asyncio.CancelledError:
            self.left += 1
            raise


class Stubborn(HeldStore):
    """Whose reads do not let themselves be cancelled."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.openings: list[AbstractAsyncContextManager[Reading]] = []  # garbage closes itself

    def open(  # type: ignore[override]  # the type of the other has no public name
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        self.openings.append(super().open(path, ahead))
        return self.openings[-1]

    async def _wait(self) -> None:
        try:
            await super()._wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # and finishes


READS: dict[str, Callable[[Store], Coroutine[object, object, object]]] = {
    "open": lambda store: read(store, "k"),
    "head": lambda store: store.head("k"),
    "list": lambda store: store.list(Listing("")),
}


class Trial:
    """A store with one object "k", whose reads are held, with hedges that a test rings for."""

    def __init__(self, policy: HedgePolicy = HedgePolicy()) -> None:  # noqa: B008  # frozen
        self.counted: list[tuple[str, str]] = []
        self.alarm = ManualAlarm()
        self.room = True
        self.base = MemoryStore(ManualClock())
        self.held = HeldStore(self.base)
        self.hedging = Hedging(
            policy, lambda *what: self.counted.append(what), lambda: self.room, lambda: self.alarm
        )
        self.store = HedgeStore(self.held, self.hedging)

    async def late_read(self, operation: str = "open") -> "asyncio.Task[object]":
        """A read that has been asked for twice, or for which that was refused."""
        await put(self.base, "k", b"x")
        task: asyncio.Task[object] = asyncio.create_task(READS[operation](self.store))
        await turns()
        self.alarm.ring()
        await turns()
        return task

    def let_through(self, number: int, error: Exception | None = None) -> None:
        if error is None:
            self.held.reads[number].set_result(None)
        else:
            self.held.reads[number].set_exception(error)


# What is late: pure


def test_nobody_knows_what_is_late_before_there_are_enough_samples() -> None:
    samples = Times()
    for _ in range(ENOUGH - 1):
        samples.add(0.02, 0.0)
    assert samples.slow is None

    samples.add(0.02, 0.0)

    assert samples.slow == pytest.approx(0.02, rel=STEP - 1)


@given(st.integers(0, 1000), st.floats(0.002, 10))
def test_what_is_late_is_what_95_of_a_hundred_are_not(seed: int, scale: float) -> None:
    dice = random.Random(seed)
    values = [dice.uniform(0.5, 1.5) * scale for _ in range(EVERY * 4)]
    samples = Times()
    for value in values:
        samples.add(value, 0.0)

    exact = sorted(values)[int(len(values) * 0.95) - 1]
    assert samples.slow is not None
    assert exact <= samples.slow <= exact * STEP * 1.02


def test_what_was_slow_long_ago_is_forgotten() -> None:
    samples = Times()
    for generation in range(4):
        for _ in range(EVERY * 2):
            samples.add(5.0 if generation == 0 else 0.01, generation * GENERATION_SECONDS)

    assert samples.slow == pytest.approx(0.01, rel=STEP - 1)


def test_the_delay_has_a_floor_and_a_guess() -> None:
    hedging = Trial().hedging
    assert hedging.delay(hedging.open) == 0.5

    for _ in range(ENOUGH):
        hedging.open.times.add(0.001, 0.0)

    assert (hedging.delay(hedging.open), hedging.delay(hedging.list)) == (0.03, 0.5)


def test_those_that_stall_do_not_make_the_others_late() -> None:
    hedging = Trial().hedging
    for number in range(ENOUGH):
        hedging.open.times.add(1.0 if number % 10 == 0 else 0.1, 0.0)

    assert hedging.delay(hedging.open) == pytest.approx(0.4, rel=STEP - 1)


def test_a_few_say_already_what_is_usual() -> None:
    hedging = Trial().hedging
    for _ in range(A_FEW):
        hedging.put(8 << 20).times.add(0.1, 0.0)

    assert hedging.delay(hedging.put(8 << 20)) == pytest.approx(0.4, rel=STEP - 1)


def test_metadata_comes_no_later_than_a_first_byte() -> None:
    hedging = Trial().hedging
    for _ in range(ENOUGH):
        hedging.open.times.add(0.1, 0.0)

    assert hedging.delay(hedging.head) == hedging.delay(hedging.open) != 0.5


def test_one_of_twenty_reads_may_be_asked_for_twice() -> None:
    hedging = Trial().hedging

    allowed = 0
    for _ in range(2000):
        hedging.asked()
        allowed += hedging.allowed("open")

    assert allowed <= HedgePolicy().burst / 2 + 2000 * 0.05
    assert allowed >= 2000 * 0.05


# The race


@pytest.mark.parametrize("operation", ["open", "head", "list"])
async def test_a_read_that_is_late_is_answered_by_the_second(operation: str) -> None:
    trial = Trial()
    task = await trial.late_read(operation)

    trial.let_through(1)
    await task

    assert trial.counted == [(operation, "won")]
    assert (trial.held.left, trial.held.open_now) == (1, 0)
    assert task.cancelling() == 0


async def test_the_first_may_still_win_and_the_second_leaves() -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(0)
    assert await task == b"x"
    await turns()

    assert trial.counted == [("open", "lost")]
    assert (trial.held.left, trial.held.open_now) == (1, 0)


async def test_two_that_come_at_once_leave_nothing_open() -> None:
    for order in ((0, 1), (1, 0)):
        trial = Trial()
        task = await trial.late_read()

        for number in order:
            trial.let_through(number)
        assert await task == b"x"
        await turns()

        assert trial.held.open_now == 0
        assert task.cancelling() == 0


async def test_a_first_that_does_not_let_itself_be_cancelled_is_taken() -> None:
    trial = Trial()
    trial.held = Stubborn(trial.base)
    trial.store = HedgeStore(trial.held, trial.hedging)
    task = await trial.late_read()

    trial.let_through(1)
    assert await task == b"x"
    await turns()

    assert trial.counted == [("open", "lost")]
    assert trial.held.open_now == 0
    assert task.cancelling() == 0


async def test_a_read_that_is_in_time_is_asked_for_once() -> None:
    trial = Trial()
    await put(trial.base, "k", b"x")
    task = asyncio.create_task(read(trial.store, "k"))
    await turns()
    trial.let_through(0)
    await task

    trial.alarm.ring()
    await turns()

    assert (len(trial.held.reads), trial.counted) == (1, [])


@pytest.mark.parametrize("error", [unreachable(), Overloaded("enough"), StoreRefused("the key")])
async def test_a_second_that_fails_does_no_harm(error: Exception) -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(1, error)
    await turns()
    trial.let_through(0)

    assert await task == b"x"


async def test_a_second_that_fails_in_passing_is_replaced() -> None:
    trial = Trial(HedgePolicy(share=5.0))
    task = await trial.late_read()

    trial.let_through(1, broken_off())
    await turns()
    trial.let_through(2)

    assert await task == b"x"
    assert trial.counted == [("open", "failed"), ("open", "won")]


async def test_a_second_that_is_late_as_well_is_replaced() -> None:
    trial = Trial(HedgePolicy(share=5.0))
    task = await trial.late_read()

    trial.alarm.ring()
    await turns()
    trial.let_through(2)

    assert await task == b"x"
    assert trial.counted == [("open", "failed"), ("open", "won")]
    assert trial.held.left == 2


@pytest.mark.parametrize("later", range(6))
async def test_a_second_that_has_won_is_not_replaced(later: int) -> None:
    trial = Trial(HedgePolicy(share=5.0))
    task = await trial.late_read()

    trial.let_through(1)
    for _ in range(later):
        await asyncio.sleep(0)
    trial.alarm.ring()
    await turns()
    for waiting in trial.held.reads[2:]:  # of a third, where the second had not yet answered
        if not waiting.done():
            waiting.set_result(None)

    assert await task == b"x"
    await turns()
    assert trial.held.open_now == 0


async def test_that_there_is_nothing_counts_among_the_times() -> None:
    trial = Trial()
    store = HedgeStore(trial.base, trial.hedging)

    for _ in range(ENOUGH):
        with pytest.raises(ObjectNotFound):
            await store.head("absent")

    assert trial.hedging.delay(trial.hedging.head) == 0.03


async def test_a_second_mends_the_failure_of_the_first() -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(0, unreachable())
    await turns()
    trial.let_through(1)

    assert await task == b"x"
    assert trial.counted == [("open", "won")]


async def test_a_second_that_comes_although_it_was_replaced_is_closed() -> None:
    trial = Trial(HedgePolicy(share=5.0))
    trial.held = Stubborn(trial.base)
    trial.store = HedgeStore(trial.held, trial.hedging)
    task = await trial.late_read()
    trial.alarm.ring()
    await turns()

    trial.let_through(2)  # a third, which wins while the second comes after all
    await task
    await turns()

    assert trial.held.open_now == 0


async def test_a_first_that_fails_unforeseen_takes_the_second_along() -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(0, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await task
    await turns()

    assert (trial.held.left, trial.held.open_now) == (1, 0)


async def test_when_both_fail_the_first_is_told() -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(0, StoreUnavailable("the first"))
    await turns()
    trial.let_through(1, StoreUnavailable("the second"))

    with pytest.raises(StoreUnavailable, match="the first"):
        await task
    assert trial.counted == [("open", "failed")]


@pytest.mark.parametrize("number", [0, 1])
async def test_an_answer_that_there_is_none_is_an_answer(number: int) -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(number, ObjectNotFound("no"))

    with pytest.raises(ObjectNotFound):
        await task
    await turns()
    assert trial.held.left == 1


@pytest.mark.parametrize("failed", [False, True], ids=["both under way", "the first had failed"])
async def test_whoever_leaves_takes_both_along(failed: bool) -> None:
    trial = Trial()
    task = await trial.late_read()
    if failed:
        trial.let_through(0, unreachable())
        await turns()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()

    assert trial.held.left == (1 if failed else 2)
    assert trial.held.open_now == 0


async def test_whoever_leaves_as_the_second_wins_has_left() -> None:
    trial = Trial()
    task = await trial.late_read()

    trial.let_through(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()

    assert trial.held.open_now == 0


async def test_a_store_that_has_enough_to_do_is_not_asked_twice() -> None:
    trial = Trial()
    trial.room = False
    await stop(await trial.late_read())

    assert (len(trial.held.reads), trial.counted) == (1, [("open", "no room")])


async def test_hedges_end_with_their_budget() -> None:
    trial = Trial()
    while trial.hedging.allowed("open"):
        pass
    trial.counted.clear()
    task = await trial.late_read()
    trial.alarm.ring()  # the first time it was put off
    await stop(task)

    assert (len(trial.held.reads), trial.counted) == (1, [("open", "no budget")])


async def test_the_last_of_the_budget_is_for_those_who_are_three_times_as_late() -> None:
    trial = Trial()
    trial.hedging.allowed("open")  # half of the burst is what there is at first
    await put(trial.base, "k", b"x")
    task = asyncio.create_task(read(trial.store, "k"))
    await turns()
    ((first, at),) = trial.alarm.waiting

    first.ring()
    asked = len(trial.held.reads)
    (_, later) = trial.alarm.waiting[1]
    first.ring()
    await turns()
    trial.let_through(1)

    assert await task == b"x"
    assert (asked, trial.counted) == (1, [("open", "won")])
    assert later - at == pytest.approx(0.5, abs=0.2)  # two delays from then, one of which was over


async def test_hedging_can_be_switched_off_at_any_time() -> None:
    trial = Trial()
    trial.hedging.policy = HedgePolicy(enabled=False)
    for operation in READS:
        await stop(await trial.late_read(operation))

    assert (len(trial.held.reads), trial.alarm.waiting) == (3, [])


@pytest.mark.parametrize("answered", [False, True])
async def test_where_nobody_is_answered_a_second_would_wait_as_well(answered: bool) -> None:
    trial = Trial(HedgePolicy(share=5.0))
    await put(trial.base, "k", b"x")
    tasks = [asyncio.create_task(read(trial.store, "k")) for _ in range(CROWD + 1)]
    await turns()
    if answered:
        trial.let_through(CROWD)
        await tasks[CROWD]

    trial.alarm.waiting[0][0].ring()
    await turns()
    seconds_at_once = len(trial.held.reads) - len(tasks)
    trial.alarm.waiting[0][0].ring()
    await turns()
    seconds = len(trial.held.reads) - len(tasks)

    assert (seconds_at_once, seconds) == ((1, 2) if answered else (0, 1))
    for task in tasks:
        await stop(task)


async def stop(task: "asyncio.Task[object]") -> None:
    task.cancel()
    await asyncio.wait([task])
