"""What limits let in, in a time of the tests' own."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway import admission
from pannier_gateway.admission import LONGEST_ARREARS, Account, Admission, Gate
from pannier_gateway.config.model import Limits, UsecaseConfig
from pannier_gateway.errors import LimitReached
from support.configs import USECASE
from support.jumps import turns

RATES = st.integers(1, 10_000)
PAUSES = st.lists(st.floats(0, 2), min_size=1, max_size=50)


@dataclass
class World:
    """A clock that stands until it is moved, and the refusals that were counted."""

    now: float = 0.0
    counted: list[tuple[str, str]] = field(default_factory=list)

    def gate(self, **limits: int) -> Gate:
        def count(usecase: str, limit: str, more: int) -> None:
            self.counted += [(usecase, limit)] * more

        return Gate(usecase("media", **limits), count, lambda: self.now)


@pytest.fixture
def world() -> World:
    return World()


def usecase(name: str, /, **limits: int) -> UsecaseConfig:
    return replace(USECASE, name=name, limits=Limits(**limits))


def passes(gate: Gate) -> bool:
    try:
        with gate:
            return True
    except LimitReached:
        return False


def owe(gate: Gate, size: float) -> None:
    """As if so many bytes had gone on beyond what was saved up."""
    assert gate.pacer.account is not None
    gate.pacer.account.take(gate.pacer.account.rate + int(size), 0.0)


# Requests a second


@given(RATES, PAUSES)
def test_no_stretch_of_time_lets_in_more_than_its_share_and_a_seconds_worth(
    rate: int, pauses: list[float]
) -> None:
    world = World()
    gate = world.gate(requests_per_second=rate)
    let_in = []
    for pause in pauses:
        world.now += pause
        let_in += [world.now for _ in range(min(rate + 1, 50)) if passes(gate)]

    for at, begin in enumerate(let_in):
        for count, end in enumerate(let_in[at:], 1):
            assert count <= (end - begin + 1) * rate + 1e-3


@given(st.integers(1, 50), PAUSES)
def test_who_asks_again_when_told_to_is_let_in(rate: int, pauses: list[float]) -> None:
    world = World()
    gate = world.gate(requests_per_second=rate)
    for pause in pauses:
        world.now += pause
        while passes(gate):
            pass
        with pytest.raises(LimitReached) as refused, gate:
            pass
        world.now += refused.value.retry_after
        assert passes(gate)


def test_a_refusal_names_the_usecase_and_the_limit_and_is_counted(world: World) -> None:
    gate = world.gate(requests_per_second=1)
    assert passes(gate)

    with pytest.raises(LimitReached) as refused, gate:
        pass

    assert str(refused.value) == (
        "usecase 'media' is at its limits.requestsPerSecond of 1: ask again in 1 s"
    )
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    assert world.counted == [("media", "requestsPerSecond")]


# Requests at once


def test_a_request_that_ends_makes_room_for_another_however_it_ends(world: World) -> None:
    gate = world.gate(concurrent_requests=2)

    with gate:
        with suppress(KeyError), gate:
            assert not passes(gate)
            raise KeyError
        assert passes(gate)
    assert gate.in_flight == 0
    assert world.counted == [("media", "concurrentRequests")]


def test_a_refused_request_uses_up_nothing(world: World) -> None:
    gate = world.gate(concurrent_requests=1, requests_per_second=2)

    with gate:
        assert not passes(gate)

    assert passes(gate)


# Bytes a second


@given(st.integers(1024, 1 << 40), st.lists(st.integers(1, 1 << 20), min_size=1))
def test_bytes_go_on_no_faster_than_the_rate_beyond_a_seconds_worth(
    rate: int, sizes: list[int]
) -> None:
    account, now, gone = Account(rate, 0.0), 0.0, 0
    for size in sizes:
        now += account.due(account.take(size, now), now)
        gone += size
        assert gone <= (now + 1) * rate * (1 + 1e-9)

    assert now <= gone / rate + 1e-9  # nor slower


def test_bodies_far_behind_let_no_more_in_until_they_have_caught_up(world: World) -> None:
    gate = world.gate(bytes_per_second=1000)
    owe(gate, 1000 * (LONGEST_ARREARS + 2.5))

    with pytest.raises(LimitReached, match="bytesPerSecond of 1000") as refused:
        gate.demand_progress()
    assert passes(gate)  # what has no body
    world.now += refused.value.retry_after

    assert refused.value.retry_after == 3
    gate.demand_progress()


def test_what_is_saved_up_is_waited_for_by_nobody() -> None:
    account = Account(1000, 0.0)

    waits = [account.due(account.take(size, 0.0), 0.0) for size in (1000, 0, 500)]

    assert waits == [0, 0, 0.5]


def test_who_waits_does_not_wait_for_those_who_came_later() -> None:
    account = Account(1000, 0.0)
    first = account.take(1500, 0.0)
    account.take(10_000, 0.25)

    assert account.due(first, 0.25) == pytest.approx(0.25)
    assert account.due(first, 0.5) == 0


@given(st.integers(1024, 1 << 40), st.integers(1, 1 << 40))
async def test_bytes_go_on_an_eighth_of_a_seconds_worth_at_a_time(rate: int, size: int) -> None:
    gate = World().gate(bytes_per_second=rate)

    assert await gate.pacer.spend(size) == min(size, rate // 8)
    assert await World().gate().pacer.spend(size) == size


# Changes


@pytest.mark.parametrize("limits", [Limits(bytes_per_second=1 << 30), Limits()])
async def test_who_waits_obeys_a_changed_limit_at_once(
    world: World, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MOMENT", 0)
    gate = world.gate(bytes_per_second=1024)
    owe(gate, 100_000)
    waiting = asyncio.create_task(gate.pacer.spend(1))
    await turns()
    assert not waiting.done()

    gate.change(limits)
    world.now += 0.001
    await turns()

    assert waiting.done()


async def test_nobody_waits_in_vain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOMENT", 0)
    gate = world.gate(bytes_per_second=1024)
    owe(gate, 100_000)
    left = asyncio.Event()
    waiting = asyncio.create_task(gate.pacer.spend(1, left.is_set))
    await turns()
    assert not waiting.done()

    left.set()
    await turns()

    assert waiting.done()


def test_a_changed_rate_keeps_the_part_that_is_left() -> None:
    account = Account(100, 0.0)
    account.take(75, 0.0)

    account.change(1000, 0.0)

    assert account.wait(250, 0.0) == 0
    assert account.wait(251, 0.0) == pytest.approx(0.001)


def test_a_debt_is_paid_off_at_the_new_rate() -> None:
    account = Account(100, 0.0)
    account.take(300, 0.0)

    account.change(1000, 0.0)

    assert account.wait(0, 0.0) == pytest.approx(0.2)


def test_limits_that_change_do_not_forget_what_is_in_flight(world: World) -> None:
    gate = world.gate(concurrent_requests=3)

    with gate, gate:
        gate.change(Limits(concurrent_requests=2))
        assert not passes(gate)
        gate.change(Limits(requests_per_second=5))
        assert passes(gate)
    gate.change(Limits(concurrent_requests=1, bytes_per_second=1024))
    assert passes(gate)


def test_a_limit_counts_what_came_before_it_and_while_there_was_none() -> None:
    admission = Admission(lambda _, __, ___: None)
    free, one = usecase("media"), usecase("media", concurrent_requests=1)
    gate = admission.gates([free])["media"]

    with gate:
        assert not passes(admission.gates([one])["media"])
        assert passes(admission.gates([free])["media"])
        assert admission.gates([]) == {}
        assert not passes(admission.gates([one])["media"])
    assert passes(gate)


def test_a_gate_that_nobody_is_in_goes_with_its_usecase() -> None:
    admission = Admission(lambda _, __, ___: None)
    gate = admission.gates([usecase("media")])["media"]

    admission.gates([])

    assert admission.gates([usecase("media")])["media"] is not gate
