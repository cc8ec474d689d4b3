"""Sums over the last seconds."""

from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.resilience.window import Window

STEPS = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5)), max_size=30)


@given(STEPS, st.integers(1, 12))
def test_a_window_holds_what_was_added_in_its_seconds(
    steps: list[tuple[float, int]], seconds: int
) -> None:
    window = Window(seconds)
    now, added = 0.0, []
    for wait, amount in steps:
        now += wait
        window.add(now, amount)
        added.append((int(now), amount))

        assert window.sum(now) == sum(n for at, n in added if at > int(now) - seconds)


def test_a_window_may_begin_at_any_time() -> None:
    window = Window(10)
    window.add(1e9)

    assert window.sum(1e9 + 9) == 1
    assert window.sum(1e9 + 10) == 0


def test_a_cleared_window_is_empty() -> None:
    window = Window(3)
    window.add(5.0)
    window.clear()

    assert window.sum(5.0) == 0
