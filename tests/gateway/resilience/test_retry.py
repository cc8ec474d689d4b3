"""Trying again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.resilience.budget import CAPACITY, RetryBudget
from pannier_gateway.resilience.failures import Failure, judge
from pannier_gateway.resilience.retry import (
    Retrier,
    RetryPolicy,
    RetryStore,
    Spent,
    Timing,
    backoff,
    pause,
)
from pannier_gateway.stores.base import Listing, Store
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import (
    Fault,
    FaultyStore,
    VirtualTime,
    broken_off,
    busy,
    dead,
    silent,
    unreachable,
)
from support.stores import ManualClock, put, read

POLICY = RetryPolicy()
TRANSIENT = Failure("transient", "?")
CHANCES = st.floats(0, 1, exclude_max=True)

READS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "open": lambda store: read(store, "k"),
    "head": lambda store: store.head("k"),
    "list": lambda store: store.list(Listing("")),
    "touch": lambda store: store.touch("k", "1", 1 << 60),
    "delete": lambda store: store.delete("k"),
}


class Trial:
    """A store with faults, tried again in virtual time; and what was counted."""

    def __init__(self, *faults: Fault | Exception | None, policy: RetryPolicy = POLICY) -> None:
        self.time = VirtualTime()
        self.counted: list[tuple[str, str, str]] = []
        self.base = MemoryStore(ManualClock())
        script = [Fault(each) if isinstance(each, Exception) else each for each in faults]
        self.faulty = FaultyStore(self.base, script)
        self.budget = RetryBudget(self.time.now)
        timing = Timing(self.time.now, self.time.sleep, lambda: 0.5)
        count = lambda *what: self.counted.append(what)  # noqa: E731  # as short as what it does
        self.retrier = Retrier(policy, self.budget, count, timing)
        self.store = RetryStore(self.faulty, self.retrier)


# When to try again: pure


@given(st.integers(1, 20), CHANCES, st.sampled_from(["transient", "busy"]))
def test_a_wait_is_random_doubles_and_is_bounded(tries: int, chance: float, kind: str) -> None:
    failure = TRANSIENT if kind == "transient" else Failure("busy", "?")
    base, cap = (0.025, 2.0) if kind == "transient" else (1.0, 20.0)

    assert backoff(POLICY, tries, failure, chance) == min(cap, base * 2 ** (tries - 1)) * chance


def test_the_first_wait_after_a_connection_has_ended_is_short() -> None:
    policy, cut = RetryPolicy(base=0.2), judge(broken_off())

    assert [backoff(policy, tries, cut, 1.0) for tries in (1, 2)] == [0.01, 0.4]
    assert backoff(policy, 1, TRANSIENT, 1.0) == 0.2


@given(st.integers(1, 9), st.floats(0, 100), CHANCES, st.none() | st.floats(0, 60))
def test_a_wait_is_never_shorter_than_the_store_says_nor_beyond_the_deadline(
    tries: int, seconds: float, chance: float, wait: float | None
) -> None:
    failure = Failure("busy", "StoreBusy", wait=wait)
    found = pause(RetryPolicy(attempts=10), Spent(tries, seconds, free=True), failure, chance)

    if isinstance(found, str):
        assert seconds + max(wait or 0.0, 20.0) > POLICY.deadline or (wait or 0.0) > 30.0
    else:
        assert found >= (wait or 0.0)
        assert seconds + found <= POLICY.deadline


@given(st.integers(1, 9), st.integers(1, 9), CHANCES)
def test_there_are_as_many_tries_as_the_policy_says(
    attempts: int, tries: int, chance: float
) -> None:
    found = pause(RetryPolicy(attempts), Spent(tries, 0.0, free=True), TRANSIENT, chance)

    assert (found == "no attempts left") == (tries >= attempts)


def test_a_dead_connection_is_owed_one_try_at_once_and_no_second() -> None:
    last = Spent(POLICY.attempts, 0.0, free=True)

    assert pause(POLICY, last, judge(dead()), 0.5) == 0.0
    assert pause(POLICY, last._replace(free=False), judge(dead()), 0.5) == "no attempts left"


# Trying again


@pytest.mark.parametrize("operation", READS)
async def test_a_failure_that_passes_is_not_seen(operation: str) -> None:
    trial = Trial()
    await put(trial.base, "k", b"x")
    trial.faulty.faults.extend([Fault(silent()), Fault(unreachable())])

    await READS[operation](trial.store)

    assert trial.faulty.asked == [operation] * 3
    assert trial.time.slept == [0.0125, 0.025]
    assert trial.counted == [
        (operation, "FirstByteTimedOut", "failed"),
        (operation, "ConnectFailed", "ok"),
    ]


async def test_the_last_failure_is_told_when_there_are_no_attempts_left() -> None:
    trial = Trial(unreachable(), unreachable(), silent(), policy=RetryPolicy(attempts=3))

    with pytest.raises(StoreTimedOut):
        await trial.store.head("k")
    assert trial.counted[-1] == ("head", "FirstByteTimedOut", "no attempts left")


async def test_a_permanent_failure_is_told_at_once() -> None:
    trial = Trial(StoreRefused("the key"))

    with pytest.raises(StoreRefused):
        await trial.store.head("k")
    assert (trial.faulty.asked, trial.time.slept, trial.counted) == (["head"], [], [])


async def test_an_answer_that_nobody_wished_for_ends_the_trying() -> None:
    trial = Trial(unreachable())

    with pytest.raises(ObjectNotFound):
        await trial.store.head("absent")
    assert trial.counted == [("head", "ConnectFailed", "answered")]


async def test_a_store_that_says_when_is_asked_then() -> None:
    trial = Trial(busy(3.0), busy(31.0))

    with pytest.raises(StoreUnavailable):
        await trial.store.head("k")
    assert trial.time.slept == [3.0]
    assert trial.counted[-1] == ("head", "StoreBusy", "told to wait too long")


async def test_a_connection_that_had_died_is_replaced_without_a_wait_or_a_charge() -> None:
    trial = Trial()
    await put(trial.base, "k", b"x")
    before = trial.budget.coins
    trial.faulty.faults.append(Fault(dead()))

    await trial.store.head("k")

    assert trial.time.slept == []
    assert trial.budget.coins == before


async def test_connections_that_have_died_are_replaced_once_at_once() -> None:
    trial = Trial(dead(), dead())
    await put(trial.base, "k", b"x")

    await trial.store.head("k")

    assert trial.time.slept == [0.005]


async def test_an_answer_that_breaks_off_is_asked_for_at_once_once_and_on_the_budget() -> None:
    trial = Trial(broken_off(), broken_off())
    await put(trial.base, "k", b"x")
    while trial.budget.coins >= 2 * 14:
        trial.budget.take("transient")

    with pytest.raises(StoreUnavailable):
        await trial.store.head("k")

    assert (trial.faulty.asked, trial.time.slept) == (["head"] * 2, [])
    assert trial.counted[-1] == ("head", "AnswerCut", "no budget")


async def test_a_bucket_that_wants_one_attempt_gets_one() -> None:
    trial = Trial(broken_off(), policy=RetryPolicy(attempts=1))

    with pytest.raises(StoreUnavailable):
        await trial.store.head("k")
    assert trial.faulty.asked == ["head"]


async def test_that_there_is_nothing_costs_no_more_than_what_there_is() -> None:
    trial = Trial(silent(), None)
    before = trial.budget.coins

    for _ in range(2):
        with pytest.raises(ObjectNotFound):
            await trial.store.head("absent")

    assert trial.counted == [("head", "FirstByteTimedOut", "answered")]
    assert trial.budget.coins == before


async def test_answers_that_there_is_nothing_earn_as_others_do() -> None:
    trial = Trial()
    trial.budget.take("transient")
    before = trial.budget.coins

    with pytest.raises(ObjectNotFound):
        await trial.store.head("absent")

    assert trial.budget.coins == before + 1


async def test_retries_end_with_the_budget() -> None:
    trial = Trial()
    while trial.budget.take("transient"):
        pass
    trial.faulty.faults.append(Fault(silent()))

    with pytest.raises(StoreTimedOut):
        await trial.store.head("k")
    assert trial.counted == [("head", "FirstByteTimedOut", "no budget")]


async def test_whoever_leaves_before_a_retry_has_spent_nothing() -> None:
    trial, asleep = Trial(unreachable()), asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    trial.retrier.timing = trial.retrier.timing._replace(sleep=sleep)
    task = asyncio.create_task(trial.store.open("k").__aenter__())
    await asleep.wait()
    while_asleep = trial.budget.coins
    task.cancel()
    await asyncio.wait([task])

    assert while_asleep < trial.budget.coins == CAPACITY


async def test_a_policy_may_change_between_two_requests() -> None:
    trial = Trial(unreachable(), unreachable())
    trial.retrier.policy = RetryPolicy(attempts=1)

    with pytest.raises(StoreUnavailable):
        await trial.store.head("k")
    assert trial.faulty.asked == ["head"]


async def test_a_body_is_put_once() -> None:
    trial = Trial(unreachable(), None)

    with pytest.raises(StoreUnavailable):
        await put(trial.store, "k", b"x")
    assert trial.faulty.asked == ["put"]


# Deletions


async def test_a_deletion_whose_answer_was_lost_is_told_as_one() -> None:
    trial = Trial()
    await put(trial.base, "k", b"x")
    trial.faulty.faults.append(Fault(silent(), done=True))

    assert await trial.store.delete("k")


async def test_a_deletion_that_never_arrived_is_not_told_as_one() -> None:
    trial = Trial(unreachable())

    assert not await trial.store.delete("k")


async def test_a_conditional_deletion_whose_answer_was_lost_is_told_as_one() -> None:
    trial = Trial()
    record = await put(trial.base, "k", b"x")
    trial.faulty.faults.append(Fault(silent(), done=True))

    assert await trial.store.delete("k", Conditions(if_match=(record.etag,)))
    assert trial.faulty.asked == ["delete", "delete", "head"]


async def test_a_conditional_deletion_of_what_has_changed_is_refused() -> None:
    trial = Trial()
    record = await put(trial.base, "k", b"x")
    await put(trial.base, "k", b"y")
    trial.faulty.faults.append(Fault(silent()))

    with pytest.raises(PreconditionFailed):
        await trial.store.delete("k", Conditions(if_match=(record.etag,)))
    assert await read(trial.base, "k") == b"y"
