"""How long an engine is told to keep an object: never less than the object is to live."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.stores.s3.lifespans import (
    DAY,
    HOUR,
    LIFESPANS,
    SKEW,
    days_kept,
    lifespan,
    tagging,
)

NOW = 1_700_000_000_000_000
LIFETIMES = st.integers(-DAY, (LIFESPANS[-1] + 2) * DAY)


@given(LIFETIMES)
def test_no_rule_deletes_before_the_object_ends(lifetime: int) -> None:
    days = lifespan(lifetime)

    if days is not None:
        assert days_kept(days) * DAY >= lifetime + DAY - SKEW


@given(LIFETIMES)
def test_nothing_takes_up_room_for_much_more_than_twice_its_time(lifetime: int) -> None:
    days = lifespan(lifetime)

    if days is not None:
        assert days <= max(1, 2 * lifetime / DAY)


@given(LIFETIMES, LIFETIMES)
def test_who_lives_longer_is_kept_longer(one: int, other: int) -> None:
    spans = [lifespan(min(one, other)), lifespan(max(one, other))]

    assert [each or LIFESPANS[-1] + 1 for each in spans] == sorted(
        each or LIFESPANS[-1] + 1 for each in spans
    )


@pytest.mark.parametrize(
    ("lifetime", "days"),
    [
        (0, 1),
        (DAY, 1),
        (30 * DAY + 300_000_000, 30),  # set by a gateway whose clock is five minutes ahead
        (30 * DAY + 2 * HOUR, 45),
        (3650 * DAY, 3650),
        (3651 * DAY, None),
    ],
)
def test_a_lifespan_is_the_shortest_that_holds(lifetime: int, days: int | None) -> None:
    assert lifespan(lifetime) == days


def test_an_object_is_tagged_with_what_is_left_to_it() -> None:
    assert tagging(NOW + 7 * DAY, NOW) == {"x-amz-tagging": "pannier-expiry=7d"}
    assert tagging(NOW + 7 * DAY, NOW + 3 * DAY) == {"x-amz-tagging": "pannier-expiry=5d"}


def test_what_never_ends_or_too_late_has_no_tag() -> None:
    assert tagging(None, NOW) == {}
    assert tagging(NOW + 4000 * DAY, NOW) == {}
