"""Bodies in which nothing moves for much longer than is usual."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.resilience.resume import ResumePolicy, Resumer, ResumeStore
from pannier_gateway.resilience.retry import TIMING
from pannier_gateway.resilience.stalls import Stalled, StallPolicy, Stalls
from pannier_gateway.resilience.times import ENOUGH, STEP
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.memory import MemoryStore
from support.hostile import Pieces, Wrapped
from support.stores import ManualClock, put, read

SOON = StallPolicy(unknown=0.01)
BODY = bytes(range(251)) * 4000


class StallingStore(Wrapped):
    """Readings that stop, and never go on, after as many bytes as the script says next."""

    def __init__(self, script: list[int]) -> None:
        super().__init__(MemoryStore(ManualClock()))
        self.starts: list[int] = []
        self._script = script

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        self.starts.append(start)
        left = self._script.pop(0) if self._script else 1 << 40
        async for piece in pieces:
            if piece[:left]:
                yield piece[:left]
            left -= len(piece)
            if left <= 0:
                await asyncio.Event().wait()


def resumed(base: StallingStore, stalls: Stalls) -> tuple[ResumeStore, list[tuple[str, str]]]:
    counted: list[tuple[str, str]] = []
    count = lambda *what: counted.append(what)  # noqa: E731  # as short as what it does
    return ResumeStore(base, Resumer(count, ResumePolicy(), TIMING, stalls)), counted


async def test_a_body_that_stalls_goes_on_over_another_connection() -> None:
    base = StallingStore([300_000])
    store, counted = resumed(base, Stalls(SOON))
    await put(base, "k", BODY)

    assert await read(store, "k") == BODY
    assert base.starts == [0, 300_000]
    assert counted == [("Stalled", "ok")]


async def test_one_that_brings_nothing_is_left_as_well_and_later() -> None:
    stalls = Stalls(SOON)
    for _ in range(100):
        stalls.begun()
    base = StallingStore([300_000, 0])
    store, counted = resumed(base, stalls)
    await put(base, "k", BODY)

    assert await read(store, "k") == BODY
    assert base.starts == [0, 300_000, 300_000]
    assert counted == [("Stalled", "failed"), ("Stalled", "ok")]


async def test_without_an_allowance_it_takes_what_it_takes() -> None:
    stalls = Stalls(StallPolicy(unknown=0.01, burst=4))
    found = []
    for _ in range(2):
        found.append(stalls.patience(0))
        with pytest.raises(Stalled):
            await stalls.next(silence(), 0.001)

    assert found == [0.01, pytest.approx(3 * 0.01)]  # three times as patient with the last of it
    assert stalls.patience(0) is None


async def test_a_loop_that_was_late_itself_says_nothing() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(0.001, time.sleep, 0.05)  # beyond all patience: a long turn of somebody else

    async def soon() -> AsyncGenerator[Buffer, None]:
        await asyncio.sleep(0.005)
        yield b"piece"

    assert await Stalls().next(soon(), 0.03) == b"piece"


async def silence() -> AsyncGenerator[Buffer, None]:
    await asyncio.Event().wait()
    yield b""


# When a body has stalled: pure


def test_patience_is_a_multiple_of_what_is_usual_and_has_a_floor() -> None:
    quick, slow = Stalls(), Stalls()
    for _ in range(ENOUGH):
        quick.pieces.add(0.001, 0.0)
        slow.pieces.add(0.1, 0.0)

    assert Stalls().patience(0) == 0.5
    assert quick.patience(0) == 0.03
    assert slow.patience(0) == pytest.approx(0.4, rel=STEP - 1)


@given(st.integers(0, 10))
def test_patience_doubles_with_every_attempt_that_brought_nothing_and_then_is_endless(
    fruitless: int,
) -> None:
    found = Stalls().patience(fruitless)

    assert found == (0.5 * 2**fruitless if fruitless <= 3 else None)


def test_nothing_is_left_where_nobody_wants_that() -> None:
    assert Stalls(StallPolicy(enabled=False)).patience(0) is None
