"""How much is asked of a store at once."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from time import monotonic

import pytest

from pannier_gateway.errors import Overloaded, StoreTimedOut
from pannier_gateway.resilience import concurrency
from pannier_gateway.resilience.concurrency import STREAM, BodyBudget, LimitStore, Slots
from pannier_gateway.resilience.gradient import FIRST, SAMPLES
from pannier_gateway.resilience.lag import FEW, LOOK_SECONDS, LagShedder
from pannier_gateway.resilience.waiting import Queue
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Listing, Store
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import Fault, FaultyStore, VirtualTime, silent
from support.hostile import ChoppyStore
from support.jumps import turns
from support.stores import ManualClock, put, read, streamed

LARGE = bytes(300_000)

OPERATIONS: dict[str, Callable[[Store], Coroutine[object, object, object]]] = {
    "open": lambda store: read(store, "k"),
    "head": lambda store: store.head("k"),
    "put": lambda store: put(store, "k", b"x"),
    "put, streamed": lambda store: put(store, "k", streamed(LARGE)),
    "delete": lambda store: store.delete("k"),
    "touch": lambda store: store.touch("k", "1", 1 << 60),
    "list": lambda store: store.list(Listing("")),
}


class Trial:
    """A store with one object "k", behind slots of which a test may take all."""

    def __init__(self, lag: float = 0.0, bodies: int = STREAM) -> None:
        self.refused: list[tuple[str, str]] = []
        self.slots = Slots(self._count, LagShedder(lambda: lag, lambda: 0.0))
        self.bodies = BodyBudget(self._count, bodies)
        self.base = MemoryStore(ManualClock())
        self.faulty = FaultyStore(self.base)
        self.store = LimitStore(self.faulty, self.slots, self.bodies)

    def _count(self, kind: str, reason: str) -> None:
        self.refused.append((kind, reason))

    async def fill(self) -> None:
        for _ in range(self.slots.gradient.limit):
            assert self.slots.enter(0.0, write=False)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_operation_waits_for_its_turn_and_gives_it_back(operation: str) -> None:
    trial = Trial()
    await put(trial.base, "k", b"x")
    await trial.fill()
    task = asyncio.create_task(OPERATIONS[operation](trial.store))
    await turns()
    assert trial.faulty.asked == []

    trial.slots.give_back()
    await task

    assert trial.faulty.asked == [operation.partition(",")[0]]
    assert trial.slots.in_flight == FIRST - 1
    assert trial.bodies.used == 0


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_what_fails_gives_everything_back(operation: str) -> None:
    trial = Trial()
    trial.faulty.faults.append(Fault(silent()))

    with pytest.raises(StoreTimedOut):
        await OPERATIONS[operation](trial.store)
    assert (trial.slots.in_flight, trial.bodies.used) == (0, 0)


async def test_reads_go_before_writes_that_have_waited_longer() -> None:
    trial = Trial()
    await put(trial.base, "k", b"x")
    await trial.fill()
    write = asyncio.create_task(put(trial.store, "k", b"y"))
    await turns()
    reading = asyncio.create_task(read(trial.store, "k"))
    await turns()

    trial.slots.give_back()
    await asyncio.gather(write, reading)

    assert trial.faulty.asked == ["open", "put"]


async def test_a_silent_store_is_asked_less() -> None:
    trial = Trial()
    trial.faulty.faults.append(Fault(silent()))

    with pytest.raises(StoreTimedOut):
        await trial.store.head("k")
    assert trial.slots.gradient.limit < FIRST


async def test_a_queue_of_ours_is_no_slowness_of_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time, trial = VirtualTime(), Trial()
    monkeypatch.setattr(concurrency, "monotonic", time.now)
    await put(trial.base, "k", b"x")
    for _ in range(SAMPLES):  # so that it is known how fast the store is
        await read(trial.store, "k")

    for _ in range(SAMPLES):
        while trial.slots.enter(time.now(), write=False):
            pass
        queued = asyncio.create_task(read(trial.store, "k"))
        await turns()
        time.seconds += 0.9
        trial.slots.give_back()
        await queued

    assert trial.slots.gradient.limit > FIRST


async def test_a_late_event_loop_turns_work_away() -> None:
    trial = Trial(lag=9.0)
    await put(trial.base, "k", b"x")
    began = monotonic() - FEW * LOOK_SECONDS
    for look in range(FEW):
        trial.slots.enter(began + look * LOOK_SECONDS, write=False)

    with pytest.raises(Overloaded, match="event loop late"):
        await trial.store.head("k")
    assert trial.refused == [("read", "event loop late")]


async def test_there_is_room_for_more_below_four_fifths_of_the_limit() -> None:
    trial = Trial()
    roomy = []
    for _ in range(FIRST):
        roomy.append(trial.slots.roomy)
        trial.slots.enter(0.0, write=False)

    assert sum(roomy) == 52


# Bodies


async def test_a_streamed_body_holds_memory_until_it_is_closed() -> None:
    trial = Trial()
    await put(trial.base, "k", LARGE)
    store = LimitStore(ChoppyStore(trial.base), trial.slots, trial.bodies)

    async with store.open("k") as reading:
        assert (trial.bodies.used, trial.slots.in_flight) == (STREAM, 0)
        waiting = asyncio.create_task(put(store, "other", streamed(LARGE)))
        await turns()
        assert not waiting.done()
        async for _ in reading.chunks(Span(0, 10)):
            pass
    await waiting

    assert trial.bodies.used == 0


async def test_a_body_at_hand_holds_none() -> None:
    trial = Trial(bodies=0)
    await put(trial.base, "k", b"x")

    assert await read(trial.store, "k") == b"x"


async def test_a_reading_for_which_there_is_no_memory_is_closed_again() -> None:
    trial = Trial(bodies=0)
    await put(trial.base, "k", LARGE)
    store = LimitStore(ChoppyStore(trial.base), trial.slots, trial.bodies)
    task = asyncio.create_task(read(store, "k"))
    await turns()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (trial.bodies.used, trial.slots.in_flight) == (0, 0)


# The queue


class Line:
    """A queue, those who wait in it, and who was turned away."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.refused: list[tuple[str, str]] = []
        self.passed_on = 0
        self.queue = Queue("?", lambda *what: self.refused.append(what), seconds=seconds, room=10)

    def join(self, *, write: bool) -> "asyncio.Task[None]":
        return asyncio.create_task(self.queue.wait(self._pass_on, write=write))

    def _pass_on(self) -> None:
        self.passed_on += 1


@pytest.mark.parametrize(("write", "room"), [(True, 8), (False, 10)])
async def test_the_queue_is_bounded_and_keeps_room_for_reads(write: bool, room: int) -> None:
    line = Line()
    async with AsyncExitStack() as stack:
        waiting = [line.join(write=True) for _ in range(8)]
        waiting += [line.join(write=False) for _ in range(room - 8)]
        for each in waiting:
            stack.callback(each.cancel)
        await turns()

        with pytest.raises(Overloaded, match="queue full") as refusal:
            await line.join(write=write)

    assert refusal.value.retry_after == 1
    assert line.refused == [("write" if write else "read", "queue full")]
    await asyncio.wait(waiting)
    assert len(line.queue) == 0


async def test_nobody_waits_for_long() -> None:
    line = Line(seconds=0.0)

    with pytest.raises(Overloaded, match="waited too long"):
        await line.join(write=False)
    assert len(line.queue) == 0


async def test_whoever_leaves_is_passed_over() -> None:
    line = Line()
    first, second = line.join(write=False), line.join(write=False)
    await turns()

    first.cancel()
    assert line.queue.call()  # before the first has had a chance to step out of the line
    await second

    assert line.passed_on == 0
    assert not line.queue.call()


async def test_a_turn_that_comes_to_somebody_who_has_left_is_passed_on() -> None:
    line = Line()
    task = line.join(write=False)
    await turns()

    assert line.queue.call()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert line.passed_on == 1
