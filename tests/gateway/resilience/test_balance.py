"""Which endpoint to ask."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import (
    ObjectNotFound,
    StoreBusy,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.resilience import standing
from pannier_gateway.resilience.balance import TRICKLE, Endpoints
from pannier_gateway.resilience.breaker import FIRST_SECONDS, IN_A_ROW, JITTER, STALE_SECONDS
from pannier_gateway.resilience.budget import RetryBudget
from pannier_gateway.resilience.failures import judge
from pannier_gateway.resilience.picked import PENALTY, Picked, at_fault
from pannier_gateway.resilience.retry import Retrier, RetryPolicy, RetryStore, Timing
from pannier_gateway.resilience.standing import FIRST_GUESS, SILENT_SECONDS, SWALLOWED
from pannier_gateway.stores.base import Record, Store
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.upstream.errors import (
    FirstByteTimedOut,
    KeptAliveDied,
    PoolExhausted,
    TlsFailed,
)
from support.faulty import (
    VirtualTime,
    broken_off,
    busy,
    caused,
    dead,
    silent,
    unreachable,
)
from support.hostile import Wrapped
from support.jumps import turns
from support.stores import ManualClock, put


class Trial:
    """Endpoints in virtual time, each with its own pace."""

    def __init__(self, *names: str, seed: int = 1) -> None:
        self.time = VirtualTime()
        self.counted: list[tuple[str, str]] = []
        self.dice = random.Random(seed)
        timing = Timing(self.time.now, self.time.sleep, self.dice.random)
        self.endpoints = Endpoints(
            "bucket",
            {name: name for name in names},
            lambda *what: self.counted.append(what),
            timing,
        )

    def ask(self, error: BaseException | None = None, /, **seconds: float) -> str:
        """One exchange that takes as long as the endpoint does; the endpoint."""
        with self.endpoints.pick() as picked:
            self.time.seconds += seconds.get(picked.target, 0.01)
            if error is not None:
                raise error
            picked.answered()
            return picked.target

    def fail(self, times: int, error: Exception | None = None) -> None:
        for _ in range(times):
            with pytest.raises(type(error or StoreUnavailable(""))):
                self.ask(error or unreachable())

    def picked(self, times: int, **seconds: float) -> Counter[str]:
        return Counter(self.ask(None, **seconds) for _ in range(times))


@given(st.integers(0, 1000))
def test_equals_are_asked_equally_often(seed: int) -> None:
    picked = Trial("a", "b", "c", seed=seed).picked(300)

    assert min(picked[name] for name in "abc") > 40


def test_the_slower_is_asked_less() -> None:
    picked = Trial("a", "b").picked(500, a=0.2, b=0.01)

    assert picked["a"] < 50


def test_the_busier_is_asked_less() -> None:
    trial = Trial("a", "b")
    trial.endpoints.all[0].in_flight = 10

    assert trial.picked(20, a=0.01, b=0.01)["b"] == 20


def test_one_that_leaves_a_request_waiting_is_not_asked_for_the_hedge() -> None:
    trial = Trial("a", "b", "c")
    with trial.endpoints.pick() as stuck:
        for each in trial.endpoints.all:
            each.in_flight = 3  # so that it is not for being busier
        trial.time.seconds += 1.0

        hedges = {trial.ask() for _ in range(20)}

    assert stuck.target not in hedges


def test_whoever_leaves_a_slow_endpoint_has_learned_that_it_is_slow() -> None:
    trial = Trial("a")
    with pytest.raises(asyncio.CancelledError):
        trial.ask(asyncio.CancelledError(), a=3.0)

    assert trial.endpoints.all[0].cost(trial.time.now()) == 3.0
    assert trial.endpoints.all[0].breaker.state == "closed"


def test_a_failure_makes_an_endpoint_look_slow_for_a_while_and_not_forever() -> None:
    trial = Trial("a", "b")
    trial.picked(50)
    trial.fail(1)
    slow = max(trial.endpoints.all, key=lambda each: each.cost(trial.time.now())).name
    assert trial.picked(20)[slow] == 0

    trial.time.seconds += 120

    assert trial.picked(20)[slow] > 0


def test_a_store_that_says_to_wait_is_spared_as_long() -> None:
    trial = Trial("a")
    with pytest.raises(StoreBusy):
        trial.ask(busy(20.0))

    assert trial.endpoints.all[0].cost(trial.time.now()) == 20.0


# Ejection


def test_an_endpoint_that_fails_is_left_out_and_probed_and_taken_in_again() -> None:
    trial = Trial("a", "b")
    a = trial.endpoints.all[0]
    for _ in range(IN_A_ROW):
        a.breaker.failed(trial.time.now(), 0.0)
    assert trial.picked(50, b=0.001)["b"] == 50

    trial.time.seconds += 1.0

    assert trial.ask() == "a"
    assert a.breaker.state == "closed"
    assert trial.counted == [("a", "probed"), ("a", "closed")]


def test_a_probe_that_fails_leaves_it_out_again() -> None:
    trial = Trial("a", "b")
    a = trial.endpoints.all[0]
    for _ in range(IN_A_ROW):
        a.breaker.failed(trial.time.now(), 0.0)
    trial.time.seconds += 1.0

    trial.fail(1)

    assert a.breaker.state == "open"
    assert trial.picked(20, b=0.001)["b"] == 20
    assert trial.counted == [("a", "probed"), ("a", "opened")]


def test_a_probe_that_is_given_up_is_followed_by_another_soon() -> None:
    trial = Trial("a", "b")
    a = trial.endpoints.all[0]
    for _ in range(IN_A_ROW):
        a.breaker.failed(trial.time.now(), 0.0)
    trial.time.seconds += 1.0
    with pytest.raises(asyncio.CancelledError):
        trial.ask(asyncio.CancelledError(), a=0.1)
    assert trial.picked(10, b=0.001)["b"] == 10

    trial.time.seconds += FIRST_SECONDS

    assert trial.ask() == "a"
    assert a.breaker.state == "closed"


def test_a_probe_is_given_up_as_the_one_it_is_on_a_clock_that_never_stands_still() -> None:
    trial = Trial("a", "b")
    a = trial.endpoints.all[0]

    def now() -> float:
        trial.time.seconds += 1e-6
        return trial.time.now()

    trial.endpoints.timing = Timing(now, trial.time.sleep, trial.dice.random)
    for _ in range(IN_A_ROW):
        a.breaker.failed(now(), 0.0)
    trial.time.seconds += 1.0

    with pytest.raises(asyncio.CancelledError):
        trial.ask(asyncio.CancelledError())

    assert trial.counted == [("a", "probed")]
    assert a.breaker.state == "open"


@pytest.mark.parametrize("error", [dead(), KeptAliveDied("raw"), PoolExhausted("raw")])
def test_an_exchange_that_never_reached_an_endpoint_does_not_take_it_in_again(
    error: Exception,
) -> None:
    trial = Trial("a")
    trial.fail(IN_A_ROW)
    trial.time.seconds += 2 * FIRST_SECONDS

    trial.fail(1, error)

    assert trial.endpoints.all[0].breaker.state == "open"
    assert trial.counted == [("a", "opened"), ("a", "probed")]


def test_the_only_endpoint_is_never_left_alone_altogether() -> None:
    trial = Trial("a")
    trial.fail(IN_A_ROW)
    assert trial.counted == [("a", "opened")]

    passed, waits = 0, []
    for _ in range(1000):
        try:
            trial.ask(a=0.0)
            passed += 1
            trial.endpoints.all[0].breaker.state = "open"
        except StoreBusy as error:
            waits.append(error.wait)

    assert 0.5 * TRICKLE < passed / 1000 < 2 * TRICKLE
    assert all(wait is not None and 0 < wait <= 1.5 for wait in waits)


def test_a_request_that_trickles_through_finds_out_that_all_is_well() -> None:
    trial = Trial("a")
    trial.fail(IN_A_ROW)

    for _ in range(200):
        try:
            trial.ask(a=0.0)
            break
        except StoreBusy:
            continue

    assert trial.endpoints.all[0].breaker.state == "closed"


class ManyEnds(Wrapped):
    """A store with several endpoints, of which some are dead: what a driver makes of a pick."""

    def __init__(self, store: Store, endpoints: Endpoints[str], dead: set[str]) -> None:
        super().__init__(store)
        self.asked: list[str] = []
        self._endpoints = endpoints
        self._dead = dead

    async def head(self, path: str) -> Record:
        with self._endpoints.pick() as picked:
            self.asked.append(picked.target)
            if picked.target in self._dead:
                raise unreachable()
            return await super().head(path)


async def test_a_retry_goes_elsewhere_and_the_dead_are_hardly_asked() -> None:
    trial = Trial("a", "b", "c")
    base = MemoryStore(ManualClock())
    await put(base, "k", b"x")
    ends = ManyEnds(base, trial.endpoints, {"a"})
    timing = trial.endpoints.timing
    retrier = Retrier(RetryPolicy(), RetryBudget(timing.now), lambda *_: None, timing)
    store = RetryStore(ends, retrier)

    for _ in range(300):
        await store.head("k")

    assert ends.asked.count("a") < 10


# One that swallows everything


class Swallowing(Trial):
    """Endpoint "a" leaves somebody waiting, and "b" answers."""

    def first(self) -> Picked[str]:
        every, now = self.endpoints, self.time.now()
        return Picked(every.all[0], now, every.count, every.timing, alone=len(every.all) == 1)

    async def begin(self) -> "asyncio.Task[None]":
        self.time.seconds += 1.0
        task = asyncio.create_task(waits(self.first()))
        await turns()
        return task

    def leave_out(self) -> None:
        """As it happens to one that has been silent for long."""
        self.picked(1)
        self.time.seconds += SILENT_SECONDS
        self.picked(1)

    def probe(self) -> None:
        """One that nobody answers: the read goes elsewhere after a while."""
        self.time.seconds += FIRST_SECONDS * (1 + JITTER)
        with pytest.raises(asyncio.CancelledError):
            self.ask(asyncio.CancelledError(), a=0.1)


async def waits(picked: Picked[str]) -> None:
    with picked:
        await asyncio.Event().wait()


async def test_whoever_waits_for_one_that_swallows_everything_gives_up() -> None:
    trial = Swallowing("a", "b")
    waiting = await trial.begin()
    trial.leave_out()
    for _ in range(SWALLOWED):
        assert not waiting.done()
        trial.probe()

    with pytest.raises(StoreTimedOut, match="a answers nobody") as caught:
        await waiting
    assert judge(caught.value) == ("transient", "FirstByteTimedOut", True, False, False, None)
    assert waiting.cancelling() == 0
    assert trial.counted == [("a", "opened"), ("a", "probed"), ("a", "probed")]


async def test_who_waited_when_it_answered_for_the_last_time_gives_up_too() -> None:
    trial = Swallowing("a", "b")
    waiting = await trial.begin()
    with trial.first():
        pass
    trial.leave_out()
    for _ in range(SWALLOWED):
        trial.probe()

    with pytest.raises(StoreTimedOut):
        await waiting


async def test_an_upload_that_probes_is_not_waited_for_either() -> None:
    trial = Swallowing("a", "b")
    first = await trial.begin()
    trial.leave_out()
    trial.time.seconds += FIRST_SECONDS * (1 + JITTER)
    probe = asyncio.create_task(waits(trial.endpoints.pick()))
    await turns()
    for _ in range(SWALLOWED):
        trial.time.seconds += STALE_SECONDS + 0.1
        trial.endpoints.pick()

    for upload in (first, probe):
        with pytest.raises(StoreTimedOut):
            await upload


async def test_a_probe_gives_up_though_nobody_else_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "WAITED_SECONDS", 0.01)
    trial = Swallowing("a", "b")
    waiting = await trial.begin()
    trial.leave_out()
    for _ in range(SWALLOWED):
        trial.probe()
    await asyncio.wait([waiting])
    trial.time.seconds += 2 * FIRST_SECONDS * (1 + JITTER)

    with pytest.raises(StoreTimedOut):
        await waits(trial.endpoints.pick())


async def test_one_that_swallows_its_probes_is_probed_less_and_less() -> None:
    trial = Swallowing("a", "b")
    waiting = await trial.begin()
    trial.leave_out()
    for _ in range(SWALLOWED):
        trial.probe()
    probed = trial.counted.count(("a", "probed"))
    trial.time.seconds += FIRST_SECONDS * (1 + JITTER)
    trial.ask()

    assert trial.counted.count(("a", "probed")) == probed
    await asyncio.wait([waiting])


async def test_one_that_answers_its_probe_is_waited_for() -> None:
    trial = Swallowing("a", "b")
    waiting = await trial.begin()
    trial.leave_out()
    trial.probe()
    trial.time.seconds += FIRST_SECONDS
    assert trial.ask() == "a"
    trial.leave_out()
    trial.probe()
    await turns()

    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize("seconds", [0.01, 0.1])
async def test_one_that_was_left_long_ago_is_silent_only_if_it_is_still_waited_for(
    seconds: float,
) -> None:
    trial = Swallowing("a", "b")
    left = await trial.begin()
    trial.time.seconds += 0.1
    left.cancel()
    await turns()
    trial.picked(1)
    waiting = await trial.begin()
    trial.time.seconds += seconds

    trial.picked(1)

    assert trial.counted == ([("a", "opened")] if seconds > FIRST_GUESS else [])
    waiting.cancel()


async def test_who_has_waited_but_a_moment_goes_on() -> None:
    trial = Swallowing("a", "b")
    first = await trial.begin()
    trial.leave_out()
    trial.probe()
    second = await trial.begin()
    trial.probe()
    await asyncio.wait([first])

    assert not second.done()
    second.cancel()


async def test_who_has_waited_but_a_moment_waits_for_no_more_than_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = Swallowing("a", "b")
    first = await trial.begin()
    trial.leave_out()
    second = await trial.begin()
    began = trial.time.seconds
    for _ in range(SWALLOWED - 1):
        trial.probe()
    monkeypatch.setattr(standing, "WAITED_SECONDS", 2 * (trial.time.seconds - began) + 0.05)
    trial.probe()

    async with asyncio.timeout(5):
        for each in (first, second):
            with pytest.raises(StoreTimedOut):
                await each


@pytest.mark.parametrize("names", ["a", "ab"])
async def test_where_nobody_else_answers_it_is_not_the_one(names: str) -> None:
    trial = Swallowing(*names)
    waiting = await trial.begin()
    for _ in range(3):
        trial.time.seconds += SILENT_SECONDS
        trial.endpoints.pick()

    assert trial.counted == []
    waiting.cancel()


async def test_whoever_leaves_just_then_has_left() -> None:
    trial = Swallowing("a", "b")
    waiting = await trial.begin()
    trial.leave_out()
    for _ in range(SWALLOWED):
        trial.probe()

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


# Whose fault it is


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (unreachable(), True),
        (silent(), True),
        (FirstByteTimedOut("raw"), True),
        (StoreUnavailable("500"), True),
        (StoreTimedOut("504"), True),
        (caused(StoreRefused("tls"), TlsFailed("expired")), True),
        (dead(), False),
        (KeptAliveDied("raw"), False),
        (PoolExhausted("raw"), False),
        (StoreRefused("403"), False),
        (ObjectNotFound("404"), False),
        (ValueError("a bug"), False),
    ],
)
def test_an_endpoint_is_at_fault_where_it_did_not_answer_or_could_not(
    error: Exception, fault: bool
) -> None:
    assert at_fault(error) == fault


def test_an_answer_that_nobody_wished_for_is_one() -> None:
    trial = Trial("a")
    trial.fail(IN_A_ROW * 2, ObjectNotFound("no"))

    assert trial.endpoints.all[0].breaker.state == "closed"
    assert trial.endpoints.all[0].in_flight == 0


def test_connections_that_end_leave_no_endpoint_out() -> None:
    trial = Trial("a")
    for _ in range(100):
        trial.fail(2, broken_off())
        trial.ask()

    assert trial.endpoints.all[0].breaker.state == "closed"


def test_a_body_that_breaks_off_counts_against_the_endpoint() -> None:
    trial = Trial("a")
    picked = trial.endpoints.pick()
    error = unreachable()

    picked.__enter__().answered()
    picked.__exit__(type(error), error, None)

    assert trial.endpoints.all[0].cost(trial.time.now()) == PENALTY
