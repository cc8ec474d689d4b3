"""The alarm that many who wait have in common."""

import asyncio
import socket
import time
from collections.abc import Callable
from time import monotonic

import pytest
import uvloop

from pannier_gateway.resilience.alarm import LOOP_LATE, Alarm


class Waiting:
    """Says when it was rung for."""

    def __init__(self) -> None:
        self.settled = self.postponed = False
        self.rung = asyncio.Event()

    def ring(self) -> None:
        self.rung.set()


async def test_the_alarm_rings_for_those_who_have_not_settled() -> None:
    alarm = Alarm()
    first, settled, last = Waiting(), Waiting(), Waiting()
    for each in (first, settled, last):
        alarm.watch(each, monotonic(), 0.001)
    settled.settled = True

    await first.rung.wait()
    await last.rung.wait()
    later = Waiting()
    alarm.watch(later, monotonic(), 0.0)
    await later.rung.wait()

    assert not settled.rung.is_set()


@pytest.mark.parametrize("answered", [False, True])
async def test_a_delay_that_has_become_shorter_counts_at_once(answered: bool) -> None:
    alarm = Alarm()
    patient, hasty = Waiting(), Waiting()
    alarm.watch(patient, monotonic(), 60.0)
    patient.settled = answered

    alarm.watch(hasty, monotonic(), 0.001)
    async with asyncio.timeout(5):
        await hasty.rung.wait()

    assert not patient.rung.is_set()


def test_where_the_loop_was_late_answers_are_read_first() -> None:
    async def answered_while_the_loop_was_stuck() -> bool:
        alarm, waiting, ours = Alarm(), Waiting(), Waiting()
        here, there = socket.socketpair()
        with here, there:
            asyncio.get_running_loop().add_reader(here, setattr, waiting, "settled", True)
            await asyncio.sleep(0.001)  # the loop listens
            alarm.watch(waiting, monotonic(), 0.001)
            alarm.watch(ours, monotonic(), 0.001)
            there.send(b"the answer")
            time.sleep(2 * LOOP_LATE)  # noqa: ASYNC251  # that is what is tried
            await ours.rung.wait()
            return waiting.rung.is_set()

    assert not uvloop.run(answered_while_the_loop_was_stuck())


async def test_whoever_is_rung_for_and_waits_on_takes_no_timer_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alarm, patient, loop, timers = Alarm(), Waiting(), asyncio.get_running_loop(), 0
    call_later = loop.call_later

    def counted(seconds: float, ring: Callable[[], object]) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_later(seconds, ring)

    class Insistent(Waiting):
        times = 20

        def ring(self) -> None:
            self.times -= 1
            if self.times:
                alarm.watch(self, monotonic(), 0.001)
            else:
                self.rung.set()

    insistent = Insistent()
    monkeypatch.setattr(loop, "call_later", counted)
    alarm.watch(insistent, monotonic(), 0.001)
    alarm.watch(patient, monotonic(), 60.0)
    await insistent.rung.wait()

    assert timers <= 3 * 20  # each time: of the watch, of the rest, and where the loop was late
