"""Turning work away while the event loop is late."""

from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.resilience.lag import FEW, LOOK_SECONDS, LOOKS, LagShedder, share

LAGS = st.floats(0, 5)


def refused(
    lags: list[float],
    *,
    write: bool,
    chance: float = 0.0,
    under_way: int = FEW,
    every: float = LOOK_SECONDS,
) -> list[bool]:
    """What becomes of one request after each look."""
    found = iter(lags)
    shedder = LagShedder(lambda: next(found), lambda: chance)
    times = [number * every for number, _ in enumerate(lags, 1)]
    return [shedder.refuses(now, under_way, write=write) for now in times]


def test_a_hiccup_turns_nobody_away() -> None:
    assert refused([0.0, 5.0, 5.0, 0.0, 5.0], write=True) == [False] * 5


def test_what_lasts_turns_writes_away_before_reads() -> None:
    some = [False] * (LOOKS - 1)

    assert refused([0.4] * LOOKS, write=True) == [*some, True]
    assert refused([0.4] * LOOKS, write=False) == [*some, False]
    assert refused([2.0] * LOOKS, write=False, chance=0.99) == [*some, True]


def test_what_is_over_turns_nobody_away() -> None:
    assert refused([3.0] * LOOKS + [0.0], write=True)[-2:] == [True, False]


def test_the_few_that_a_busy_machine_has_to_do_are_done() -> None:
    assert not any(refused([5.0] * 20, write=True, under_way=FEW - 1))


def test_looks_that_lie_far_apart_say_nothing_of_what_lasts() -> None:
    assert not any(refused([0.6] * 20, write=True, every=60.0))


def test_a_loop_that_is_late_for_every_look_is_late_all_the_same() -> None:
    assert refused([3.0] * LOOKS, write=True, every=3.0)[-1]


@given(LAGS, LAGS)
def test_the_later_the_more(one: float, other: float) -> None:
    less, more = sorted((share(one, 0.25, 1.0), share(other, 0.25, 1.0)))

    assert 0 <= less <= more <= 1
    assert (share(min(one, other), 0.25, 1.0), share(max(one, other), 0.25, 1.0)) == (less, more)
