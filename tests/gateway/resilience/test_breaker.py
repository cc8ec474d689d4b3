"""Whether an endpoint is worth asking."""

from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.resilience.breaker import (
    FIRST_SECONDS,
    IN_A_ROW,
    JITTER,
    MOST_SECONDS,
    RATE_SAMPLES,
    RATE_SECONDS,
    STALE_SECONDS,
    Breaker,
)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(IN_A_ROW):
        breaker.failed(now, 0.0)
    return breaker


def state(breaker: Breaker) -> str:
    """Asked anew: it changes."""
    return breaker.state


def test_some_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    for _ in range(IN_A_ROW - 1):
        breaker.failed(0.0, 0.0)
    breaker.succeeded(0.0)
    for _ in range(IN_A_ROW - 1):
        breaker.failed(0.0, 0.0)
    assert state(breaker) == "closed"

    breaker.failed(0.0, 0.0)

    assert state(breaker) == "open"


def test_too_many_failures_among_successes_open_it() -> None:
    breaker = Breaker()
    for number in range(RATE_SAMPLES - 1):
        breaker.failed(0.0, 0.0) if number % 4 == 0 else breaker.succeeded(0.0)
    assert state(breaker) == "closed"

    breaker.failed(0.0, 0.0)

    assert state(breaker) == "open"


def test_connections_that_end_count_in_a_row_alone() -> None:
    breaker = Breaker()
    for number in range(1000):
        breaker.cut(0.0, 0.0) if number % 2 else breaker.succeeded(0.0)
    for _ in range(IN_A_ROW - 2):
        breaker.cut(0.0, 0.0)
    assert state(breaker) == "closed"

    breaker.cut(0.0, 0.0)

    assert state(breaker) == "open"


def test_a_probe_that_is_cut_has_failed() -> None:
    breaker = opened()
    breaker.probe(FIRST_SECONDS)

    breaker.cut(FIRST_SECONDS, 0.0)

    assert state(breaker) == "open"


def test_one_failure_in_five_is_borne() -> None:
    breaker = Breaker()
    for number in range(1000):
        breaker.failed(0.0, 0.0) if number % 5 == 4 else breaker.succeeded(0.0)

    assert state(breaker) == "closed"


def test_failures_of_long_ago_do_not_count_for_the_rate() -> None:
    breaker = Breaker()
    for number in range(RATE_SAMPLES - 2):
        breaker.failed(0.0, 0.0) if number % 3 == 0 else breaker.succeeded(0.0)
    for number in range(RATE_SAMPLES):
        breaker.failed(RATE_SECONDS, 0.0) if number % 6 == 5 else breaker.succeeded(RATE_SECONDS)

    assert state(breaker) == "closed"


def test_a_refusal_counts_for_the_rate_alone() -> None:
    breaker = Breaker()
    for _ in range(RATE_SAMPLES - 1):
        breaker.refused(0.0, 0.0)
    assert state(breaker) == "closed"

    breaker.refused(0.0, 0.0)

    assert state(breaker) == "open"


def test_a_probe_is_due_when_it_has_been_open_long_enough() -> None:
    breaker = opened(now=5.0)

    assert not breaker.due(5.9)
    assert breaker.due(6.0)


def test_one_probe_is_enough_until_it_is_forgotten() -> None:
    breaker = opened()
    breaker.probe(1.0)

    assert not breaker.due(1.0 + STALE_SECONDS - 0.1)
    assert breaker.due(1.0 + STALE_SECONDS)


def test_a_probe_that_ends_without_a_word_makes_room_for_another() -> None:
    breaker = opened()
    breaker.probe(1.0)
    breaker.gave_up(1.0, 1.5)

    assert state(breaker) == "open"
    assert not breaker.due(1.4 + FIRST_SECONDS)
    assert breaker.due(1.5 + FIRST_SECONDS)


def test_whoever_gives_up_ends_no_probe_but_its_own() -> None:
    breaker = opened()
    breaker.probe(1.0)

    breaker.gave_up(0.5, 1.5)

    assert state(breaker) == "probing"


def test_a_probe_that_goes_well_closes_it_and_all_is_forgotten() -> None:
    breaker = opened()
    breaker.probe(1.0)
    breaker.succeeded(1.0)
    assert state(breaker) == "closed"

    for _ in range(IN_A_ROW - 1):
        breaker.failed(1.0, 0.0)

    assert state(breaker) == "closed"


@given(st.integers(1, 20), st.floats(0, 1))
def test_with_every_probe_that_fails_it_stays_open_twice_as_long(fails: int, chance: float) -> None:
    breaker = opened()
    for _ in range(fails):
        breaker.probe(breaker.until)
        probed = breaker.until
        breaker.failed(probed, chance)

    seconds = min(MOST_SECONDS, 2.0**fails)
    assert state(breaker) == "open"
    assert abs(breaker.until - probed - seconds * (1 + JITTER * chance)) < 1e-6


def test_what_ends_late_does_not_open_it_for_longer() -> None:
    breaker = opened()
    until = breaker.until

    breaker.failed(0.5, 0.0)

    assert breaker.until == until
