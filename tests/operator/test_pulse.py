"""When the operator had better be started anew."""

from pannier_operator.pulse import STUCK_SECONDS, Pulse


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_well_while_it_lists_and_works() -> None:
    clock = Clock()
    pulse = Pulse(600.0, clock)
    for _ in range(10):
        clock.now += 250
        pulse.listed()
        pulse.worked()

        assert pulse.ailing(waiting=1e6) is None
    assert repr(pulse) == "<Pulse well>"


def test_a_world_that_was_not_listed_for_three_rounds_is_told() -> None:
    clock = Clock()
    pulse = Pulse(600.0, clock)
    clock.now += 1800
    assert pulse.ailing(waiting=0.0) is None

    clock.now += 1

    assert pulse.ailing(waiting=0.0) == "everything was last listed 1801 s ago"


def test_work_that_waits_while_nobody_does_any_is_told() -> None:
    clock = Clock()
    pulse = Pulse(600.0, clock)
    clock.now += STUCK_SECONDS
    assert pulse.ailing(waiting=STUCK_SECONDS) is None

    clock.now += 1

    assert pulse.ailing(waiting=301.0) == "nobody has looked at what waits for 301 s"
    pulse.worked()
    assert pulse.ailing(waiting=301.0) is None


def test_a_calm_in_which_nothing_waits_is_no_illness() -> None:
    clock = Clock()
    pulse = Pulse(600.0, clock)
    clock.now += 1000

    assert pulse.ailing(waiting=1.0) is None
