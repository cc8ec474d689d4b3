"""Waits of one connection, in a time that stands still until it is moved."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from pannier_gateway.upstream.limit import Limit


class Timer:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        self.when = float("inf")


class Night:
    """Implements Timers. A real loop would have to be waited for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        self.timers.append(Timer(when, callback))
        return cast(asyncio.TimerHandle, self.timers[-1])

    def pass_until(self, now: float) -> None:
        while due := [each for each in self.timers if each.when <= now]:
            first = min(due, key=lambda each: each.when)
            self.now = max(self.now, first.when)
            first.cancel()
            first.callback()
        self.now = now


@pytest.fixture
def night() -> Night:
    return Night()


@pytest.fixture
def heard() -> list[str]:
    return []


@pytest.fixture
def limit(night: Night, heard: list[str]) -> Limit[str]:
    return Limit(night, heard.append)


def test_a_wait_is_told_of_once_its_time_is_over(
    night: Night, limit: Limit[str], heard: list[str]
) -> None:
    with limit(10, "an answer"):
        night.pass_until(9.9)
        assert heard == []
        night.pass_until(10)

    assert heard == ["an answer"]


def test_waits_that_end_in_time_have_one_timer_among_them(night: Night, limit: Limit[str]) -> None:
    for _ in range(100):
        with limit(10, "an answer"):
            night.pass_until(night.now + 0.01)

    assert len(night.timers) == 1


def test_the_timer_of_an_earlier_wait_rings_for_the_one_of_now(
    night: Night, limit: Limit[str], heard: list[str]
) -> None:
    with limit(10, "an answer"):
        night.pass_until(6)
    with limit(10, "progress"):
        night.pass_until(15)
        assert heard == []
        night.pass_until(16)

    assert heard == ["progress"]


def test_a_shorter_wait_does_not_have_to_wait_for_the_timer_of_a_longer_one(
    night: Night, limit: Limit[str], heard: list[str]
) -> None:
    with limit(60, "progress"):
        night.pass_until(1)
    with limit(10, "an answer"):
        night.pass_until(11)

    assert heard == ["an answer"]


def test_nothing_rings_for_who_waits_for_nothing(
    night: Night, limit: Limit[str], heard: list[str]
) -> None:
    with limit(10, "an answer"):
        pass
    night.pass_until(100)
    with limit(10, "an answer"):
        limit.end()
        night.pass_until(1000)

    assert heard == []
