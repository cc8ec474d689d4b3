"""Keys that wait for work, and how long."""

import asyncio
from collections.abc import Callable

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import sampled_from, sets

from pannier_operator.pace import Backoff
from pannier_operator.queue import Queue


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(clock: Callable[[], float], settle: float = 0.0, at_once: int = 1) -> Queue:
    return Queue(Backoff(first=1.0, longest=8.0), settle, clock, at_once)


async def test_a_key_that_is_added_often_is_worked_on_once() -> None:
    found = queue(Clock())
    for _ in range(3):
        found.add("a")

    assert await found.get() == "a"
    found.done("a")
    assert found.depth == 0


async def test_news_during_the_work_means_work_again_and_never_twice_at_once() -> None:
    found = queue(Clock())
    found.add("a")
    await found.get()

    found.add("a")
    assert (found.depth, found.active) == (1, 1)
    waiting = asyncio.ensure_future(found.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    found.done("a")
    assert await waiting == "a"


async def test_a_burst_settles_first() -> None:
    clock = Clock()
    found = queue(clock, settle=0.1)
    found.add("a")
    clock.now = 0.05
    found.add("a")
    clock.now = 0.1

    assert await found.get() == "a"


async def test_a_failure_waits_longer_each_time_and_news_do_not_wait() -> None:
    clock = Clock()
    found = queue(clock)
    found.add("a")
    waits = []
    for _ in range(6):
        await found.get()
        found.failed("a")
        clock.now, began = clock.now + 100, clock.now
        waits.append(100 - found.age())
        assert began < clock.now

    assert all(
        half / 2 <= wait <= half for wait, half in zip(waits, [1, 2, 4, 8, 8, 8], strict=True)
    )
    await found.get()
    found.failed("a")
    found.add("a")
    assert await found.get() == "a"


async def test_a_failure_waits_as_long_as_it_was_asked_to() -> None:
    clock = Clock()
    found = queue(clock)
    found.add("a")
    await found.get()
    found.failed("a", at_least=60.0)

    clock.now = 61.0

    assert found.age() == 1.0


async def test_success_forgets_the_failures() -> None:
    clock = Clock()
    found = queue(clock)
    for outcome in (found.failed, found.failed, found.done, found.failed):
        found.add("a")
        clock.now += 100
        await found.get()
        outcome("a")

    clock.now += 1
    assert await found.get() == "a"


async def test_the_age_is_that_of_the_oldest_that_could_be_taken() -> None:
    clock = Clock()
    found = queue(clock)
    assert found.age() == 0.0
    found.add("a")
    clock.now = 5.0
    found.add("b")
    clock.now = 7.0

    assert found.age() == 7.0
    await found.get()
    assert found.age() == 2.0


async def test_who_waits_is_woken_by_a_key() -> None:
    found = Queue(Backoff(), settle=0.01)
    waiting = asyncio.ensure_future(found.get())
    await asyncio.sleep(0)

    found.add("a")

    async with asyncio.timeout(5):
        assert await waiting == "a"


async def test_those_that_take_turns_do_not_keep_news_waiting() -> None:
    found = queue(Clock(), at_once=2)
    found.add_in_turn(f"turn-{number}" for number in range(100))
    found.add("news")

    assert found.depth == 101
    assert [await found.get() for _ in range(3)] == ["news", "turn-0", "turn-1"]


async def test_the_next_has_its_turn_when_one_is_done_with_or_has_failed() -> None:
    found = queue(Clock(), at_once=2)
    found.add_in_turn("abcd")
    first, second = await found.get(), await found.get()

    found.done(first)
    assert await found.get() == "c"
    found.failed(second)
    assert await found.get() == "d"


async def test_who_waits_for_a_turn_does_not_wait_twice() -> None:
    found = queue(Clock())
    found.add_in_turn("ab")
    found.add_in_turn("ab")
    found.add("b")
    assert found.depth == 2

    worked = []
    while found.depth:
        worked.append(await found.get())
        found.done(worked[-1])

    assert worked == ["a", "b"]


class Model(RuleBasedStateMachine):
    """Whatever is added is worked on afterwards, by one at a time."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.queue = queue(self.clock, at_once=3)
        self.owed: set[str] = set()
        self.busy: list[str] = []

    @rule(key=sampled_from("abc"))
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule(keys=sets(sampled_from("abc")))
    def add_in_turn(self, keys: set[str]) -> None:
        self.queue.add_in_turn(sorted(keys))
        self.owed |= keys

    @precondition(lambda self: self.owed - set(self.busy))
    @rule()
    def take(self) -> None:
        self.clock.now += 10
        key = asyncio.run(asyncio.wait_for(self.queue.get(), 5))
        assert key in self.owed
        assert key not in self.busy
        self.owed.discard(key)
        self.busy.append(key)

    @precondition(lambda self: self.busy)
    @rule(fails=sampled_from([True, False]))
    def finish(self, fails: bool) -> None:
        key = self.busy.pop()
        if fails:
            self.queue.failed(key)
            self.owed.add(key)
        else:
            self.queue.done(key)

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "queue"):
            assert (self.queue.depth, self.queue.active) == (len(self.owed), len(self.busy))


TestModel = Model.TestCase
