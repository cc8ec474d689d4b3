"""How long what has failed is left alone."""

from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.backoff import Backoff

BACKOFF = Backoff(first=2.0, longest=30.0)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_wait_is_half_the_first_to_the_longest_and_never_less_than_the_last(
    failures: int, chance: float
) -> None:
    assert 1 <= BACKOFF.after(failures, chance) <= 30
    assert BACKOFF.after(failures, chance) <= BACKOFF.after(failures + 1, chance)


def test_waits_double_up_to_the_longest() -> None:
    assert [BACKOFF.after(failures) for failures in range(6)] == [2, 4, 8, 16, 30, 30]
