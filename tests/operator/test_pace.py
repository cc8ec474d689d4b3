"""How fast the operator may be."""

import asyncio
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import pytest

from pannier_operator.api import ClusterError, Refused, Unreachable
from pannier_operator.pace import IN_FLIGHT, Backoff, Gate, Tokens
from support.apiproxy import Note, Proxy, Rule
from support.manifests import bucket, usecase
from support.operators import Place, eventually, process


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gate(clock: Clock) -> Gate:
    return Gate(Tokens(1000.0, 1000.0), Backoff(first=4.0, longest=30.0), clock)


def test_delays_double_up_to_a_limit_and_differ() -> None:
    delays = list(islice(Backoff(first=1.0, longest=30.0), 200))

    assert all(0.5 <= delay <= 1.0 for delay in delays[:1])
    assert all(15.0 <= delay <= 30.0 for delay in delays[10:])
    assert len(set(delays)) > 190


def test_a_burst_passes_and_then_the_rate_holds() -> None:
    clock = Clock()
    tokens = Tokens(rate=10.0, burst=3.0, clock=clock)

    waits = [tokens.take() for _ in range(5)]

    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2])
    clock.now = 100.0
    assert [tokens.take() for _ in range(4)] == pytest.approx([0, 0, 0, 0.1])


async def test_a_server_in_need_is_left_alone_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    slept = patient(clock, monkeypatch)
    found = gate(clock)

    with pytest.raises(Refused):
        await failing(found, Refused(429, "slow down", asked_to_wait=20.0))
    async with found.passage(write=False):
        pass

    assert sum(slept) == pytest.approx(20.0)


async def test_silence_is_answered_with_ever_more_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    patient(clock, monkeypatch)
    found = gate(clock)
    began: list[float] = []

    for _ in range(5):
        with pytest.raises(Unreachable):
            await failing(found, Unreachable("nobody answers"), lambda: began.append(clock.now))

    gaps = [after - before for before, after in pairwise(began)]
    assert all(whole / 2 <= gap <= whole for gap, whole in zip(gaps, [4, 8, 16, 30], strict=True))


async def test_a_refusal_that_is_about_the_request_delays_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    slept = patient(clock, monkeypatch)
    found = gate(clock)

    for _ in range(3):
        with pytest.raises(Refused):
            await failing(found, Refused(409, "it has changed"))

    assert sum(slept) == 0


async def test_those_that_fail_together_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    slept = patient(clock, monkeypatch)
    found = gate(clock)
    all_in = asyncio.Barrier(IN_FLIGHT)

    async def fail() -> None:
        async with found.passage(write=False):
            await all_in.wait()
            raise Unreachable("nobody answers")

    failures = await asyncio.gather(*(fail() for _ in range(IN_FLIGHT)), return_exceptions=True)
    assert [type(each) for each in failures] == [Unreachable] * IN_FLIGHT
    async with found.passage(write=False):
        pass

    assert sum(slept) <= 4.0


async def test_writes_wait_for_their_turn_and_reads_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    slept = patient(clock, monkeypatch)
    found = Gate(Tokens(rate=2.0, burst=1.0, clock=clock), Backoff(), clock)

    for write in (True, False, True, False, True):
        async with found.passage(write=write):
            pass

    assert slept == pytest.approx([0, 0.5, 0.5])


async def test_only_so_many_are_under_way_at_once() -> None:
    found = gate(Clock())
    release, inside = asyncio.Event(), []

    async def pass_through() -> None:
        async with found.passage(write=False):
            inside.append(1)
            await release.wait()

    waiting = [asyncio.ensure_future(pass_through()) for _ in range(IN_FLIGHT + 3)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(inside) == IN_FLIGHT
    release.set()
    await asyncio.gather(*waiting)
    assert len(inside) == IN_FLIGHT + 3


async def failing(
    gate: Gate, error: ClusterError, begun: Callable[[], object] = lambda: None
) -> None:
    """A request that fails once it has begun."""
    async with gate.passage(write=False):
        begun()
        raise error


def patient(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have sleeps pass at once on `clock`; how long each was."""
    slept: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds
        await really(0)

    monkeypatch.setattr("pannier_operator.pace.asyncio.sleep", sleep)
    return slept


@pytest.mark.cluster
def test_an_operator_writes_no_faster_than_it_is_told_to(
    place: Place, proxy: Proxy, way: Path, tmp_path: Path
) -> None:
    noted = Note()
    for verb in ("create", "patch"):
        proxy.on(Rule(noted, verb=verb))
    place.apply(bucket(), *(usecase(f"use-{number:02}") for number in range(20)))

    with process(way, tmp_path / "log", f"--namespace={place.namespace}", "--write-rate=5"):
        eventually(lambda: all(each["status"] for each in place.found("Usecase").values()), 30)

    writes, lasted = len(noted.times), noted.times[-1] - noted.times[0]
    assert writes > 20  # the ConfigMap, too
    assert lasted > writes / 5 - 2  # five go at once, and the first may come a second late
