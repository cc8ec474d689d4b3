"""Turning work away while the event loop is late."""

from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.resilience.lag import LOOK_SECONDS, LagShedder, share

LAGS = st.floats(0, 5)


def refused(lags: list[float], *, write: bool, chance: float = 0.0) -> list[bool]:
    """What becomes of one request after each look."""
    found = iter(lags)
    shedder = LagShedder(lambda: next(found), lambda: chance)
    return [shedder.refuses(number * LOOK_SECONDS, write=write) for number, _ in enumerate(lags, 1)]


def test_one_hiccup_turns_nobody_away() -> None:
    assert refused([0.0, 5.0, 0.0, 5.0], write=True) == [False] * 4


def test_what_lasts_turns_writes_away_before_reads() -> None:
    assert refused([0.4] * 3, write=True) == [False, True, True]
    assert refused([0.4] * 3, write=False) == [False] * 3
    assert refused([2.0] * 3, write=False, chance=0.99) == [False, True, True]


def test_what_is_over_turns_nobody_away() -> None:
    assert refused([3.0, 3.0, 0.0], write=True) == [False, True, False]


@given(LAGS, LAGS)
def test_the_later_the_more(one: float, other: float) -> None:
    less, more = sorted((share(one, 0.1, 0.5), share(other, 0.1, 0.5)))

    assert 0 <= less <= more <= 1
    assert (share(min(one, other), 0.1, 0.5), share(max(one, other), 0.1, 0.5)) == (less, more)
