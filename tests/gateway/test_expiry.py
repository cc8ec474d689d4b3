"""How long objects live: what may be asked for, and what a read extends."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier.protocol.expiration import MANUAL, Expiration, Policy
from pannier_gateway.config.model import AllowedExpiry, Expiry
from pannier_gateway.errors import ExpirationRefused, StoreUnavailable
from pannier_gateway.expiry import (
    Extender,
    Lifetimes,
    deadline,
    extended,
)
from pannier_gateway.moments import microseconds
from pannier_gateway.stores.base import Attributes, Record
from pannier_gateway.stores.memory import MemoryStore
from support.configs import USECASE
from support.stores import NOON, SECOND, ManualClock, draft, whole

DAY = 24 * 3600
HOUR = timedelta(hours=1)


# What a usecase allows


def lifetimes(
    *allowed: AllowedExpiry, default: Expiry | None = None, anything: bool = False
) -> Lifetimes:
    usecase = replace(
        USECASE,
        name="attachments",
        expiration=default or Expiry(policy="Manual"),
        allowed_expirations=None if anything else allowed,
    )
    return Lifetimes(usecase)


@pytest.mark.parametrize(
    ("default", "chosen"),
    [
        (Expiry(policy="Manual"), MANUAL),
        (Expiry(policy="TimeToLive", after=3600), Expiration.ttl(HOUR)),
        (Expiry(policy="TimeToIdle", after=3600), Expiration.tti(HOUR)),
    ],
)
def test_who_asks_for_nothing_gets_the_default(default: Expiry, chosen: Expiration) -> None:
    assert lifetimes(default=default).choose(None) == chosen


@pytest.mark.parametrize("asked", [MANUAL, Expiration.ttl(HOUR), Expiration.tti(HOUR * 99_999)])
def test_a_usecase_without_bounds_allows_everything(asked: Expiration) -> None:
    assert lifetimes(anything=True).choose(asked) == asked


BOUNDED = (
    AllowedExpiry(policy="TimeToLive", max_after=7200),
    AllowedExpiry(policy="TimeToIdle"),
)


@pytest.mark.parametrize(
    "asked",
    [Expiration.ttl(timedelta(0)), Expiration.ttl(2 * HOUR), Expiration.tti(HOUR * 99_999)],
)
def test_what_lies_within_the_bounds_is_allowed(asked: Expiration) -> None:
    assert lifetimes(*BOUNDED).choose(asked) == asked


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (MANUAL, ["'attachments'", "'manual'", "allowed are ttl, tti", "allowedExpirations"]),
        (
            Expiration.ttl(2 * HOUR + timedelta(microseconds=1)),
            ["'attachments'", "ttl up to 2h", "maxAfter"],
        ),
    ],
)
def test_what_lies_outside_is_refused_with_the_bound(asked: Expiration, words: list[str]) -> None:
    with pytest.raises(ExpirationRefused) as refused:
        lifetimes(*BOUNDED).choose(asked)

    assert refused.value.status == 400
    assert [word for word in words if word not in str(refused.value)] == []


def test_the_default_needs_no_allowance() -> None:
    default = Expiry(policy="TimeToLive", after=DAY)

    assert lifetimes(*BOUNDED, default=default).choose(None) == Expiration.ttl(HOUR * 24)


# Deadlines


def test_a_deadline_is_so_long_after_the_write() -> None:
    assert deadline(NOON, microseconds(HOUR)) == NOON + 3600 * SECOND
    assert deadline(NOON, microseconds(timedelta(0))) == NOON
    assert deadline(NOON, microseconds(None)) is None


def idle(after: int, expires: int | None, policy: Policy = "tti") -> Record:
    """An object with an idle time of `after` microseconds."""
    return Record("k", 1, "tag", NOON, expires, Attributes(policy=policy, after=after))


@pytest.mark.parametrize(
    ("after", "debounce"), [(4 * SECOND, SECOND), (4 * DAY * SECOND, DAY * SECOND),
                            (400 * DAY * SECOND, DAY * SECOND)]
)  # fmt: skip
def test_a_deadline_moves_once_it_lags_by_a_quarter_or_a_day(after: int, debounce: int) -> None:
    newest = NOON + after

    assert extended(idle(after, newest), NOON) is None
    assert extended(idle(after, newest - debounce), NOON) is None
    assert extended(idle(after, newest - debounce - 1), NOON) == newest


@pytest.mark.parametrize(
    "record",
    [
        idle(SECOND, NOON, policy="ttl"),
        idle(SECOND, None),
        Record("k", 1, "tag", NOON, NOON, Attributes(policy="tti", after=None)),
        Record("k", 1, "tag", NOON, None, Attributes()),
    ],
)
def test_a_read_extends_nothing_but_idle_times(record: Record) -> None:
    assert extended(record, NOON + SECOND // 2) is None


MICROSECONDS = st.integers(0, 1000 * 365 * DAY * SECOND)


@given(after=MICROSECONDS, age=MICROSECONDS)
def test_a_read_only_ever_prolongs_and_never_beyond_the_idle_time(after: int, age: int) -> None:
    assume(age < after)
    now = NOON + age

    moved = extended(idle(after, NOON + after), now)

    assert moved in (None, now + after)
    assert moved is None or moved > NOON + after


@given(after=MICROSECONDS, gaps=st.lists(st.floats(0, 0.74), max_size=30))
def test_what_is_read_often_enough_lives_on(after: int, gaps: list[float]) -> None:
    """Three quarters of the idle time (less by a day at most) is often enough."""
    expires, now = NOON + after, NOON
    for gap in gaps:
        now += int(after * gap)
        assert expires >= now
        expires = extended(idle(after, expires), now) or expires


# Deadlines that reads move


class Held(MemoryStore):
    """Touches when it may, and counts; then fails as often as it is told to."""

    def __init__(self, clock: ManualClock, failures: int = 0) -> None:
        super().__init__(clock)
        self.may_touch = asyncio.Event()
        self.touches = 0
        self.failures = failures

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        self.touches += 1
        await self.may_touch.wait()
        if self.touches <= self.failures:
            raise StoreUnavailable("not now")
        return await super().touch(path, etag, expires)


async def read_idle(store: Held, clock: ManualClock, extender: Extender) -> Record:
    """Store an object with an idle time of four seconds, which is read after two."""
    attributes = Attributes(policy="tti", after=4 * SECOND)
    expires = clock.now + 4 * SECOND
    record = await store.put("k", whole(b"x"), draft(expires=expires, attributes=attributes))
    clock.advance(2)
    extender.extend(record)
    return record


async def moved(store: Held) -> int | None:
    """The deadline once nothing moves it any more."""
    store.may_touch.set()
    await asyncio.wait([task for task in asyncio.all_tasks() if task != asyncio.current_task()])
    return (await store.head("k")).expires


async def test_readers_at_once_move_a_deadline_once() -> None:
    clock = ManualClock()
    store = Held(clock)
    extender = Extender(store, clock)

    record = await read_idle(store, clock, extender)
    extender.extend(record)

    assert repr(extender) == "<Extender 1 moving>"
    assert await moved(store) == NOON + 6 * SECOND
    assert store.touches == 1
    assert repr(extender) == "<Extender 0 moving>"


async def test_a_deadline_that_can_not_be_moved_is_told_of_and_moved_by_the_next_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    store = Held(clock, failures=1)
    extender = Extender(store, clock)
    record = await read_idle(store, clock, extender)
    assert await moved(store) == NOON + 4 * SECOND

    extender.extend(record)

    assert await moved(store) == NOON + 6 * SECOND
    assert caplog.messages == ["deadline not moved"]
