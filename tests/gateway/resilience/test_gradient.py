"""How much a store can take at once."""

from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.resilience.gradient import FIRST, LEAST, MOST, SAMPLES, Gradient


def answers(gradient: Gradient, seconds: float, looks: int, in_flight: int | None = None) -> None:
    """So many looks' worth of answers, while the limit is used up or so many are in flight."""
    for _ in range(looks * SAMPLES):
        gradient.answered(seconds, gradient.limit if in_flight is None else in_flight)


def test_a_store_that_keeps_its_pace_is_asked_more() -> None:
    gradient = Gradient()
    answers(gradient, 0.01, 1000)

    assert gradient.limit == MOST


def test_a_store_that_becomes_slow_is_asked_less() -> None:
    gradient = Gradient()
    answers(gradient, 0.01, 20)
    before = gradient.limit

    answers(gradient, 0.2, 15)

    assert gradient.limit < before / 2


def test_twice_as_slow_is_no_reason_to_ask_less() -> None:
    gradient = Gradient()
    answers(gradient, 0.01, 5)
    before = gradient.limit

    answers(gradient, 0.019, 5)

    assert gradient.limit >= before


def test_a_limit_that_nobody_uses_does_not_grow() -> None:
    gradient = Gradient()
    answers(gradient, 0.01, 100, in_flight=3)

    assert gradient.limit == FIRST


def test_what_becomes_fast_again_is_soon_the_usual() -> None:
    gradient = Gradient()
    answers(gradient, 1.0, 5)
    answers(gradient, 0.01, 10)
    before = gradient.limit

    answers(gradient, 1.0, 3)

    assert gradient.limit < before


def test_refusals_lower_the_limit_once_a_second() -> None:
    gradient = Gradient()
    for _ in range(100):
        gradient.refused(10.0)
    assert gradient.limit == int(FIRST * 0.9)

    gradient.refused(11.0)

    assert gradient.limit == int(FIRST * 0.81)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1000)), max_size=20), st.floats(0, 9))
def test_the_limit_stays_within_its_bounds(phases: list[tuple[float, int]], refused: float) -> None:
    gradient = Gradient()
    for seconds, in_flight in phases:
        answers(gradient, seconds, 5, in_flight)
        gradient.refused(refused)

        assert LEAST <= gradient.limit <= MOST
