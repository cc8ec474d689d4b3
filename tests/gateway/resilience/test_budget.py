"""What retries may cost."""

from pannier_gateway.resilience.budget import CAPACITY, COSTS, FLOOR, RATIO, RetryBudget
from support.faulty import VirtualTime


def test_retries_that_fail_empty_the_purse() -> None:
    budget = RetryBudget(VirtualTime().now)

    taken = 0
    while budget.take("transient"):
        taken += 1

    assert taken == CAPACITY // COSTS["transient"]


def test_a_retry_that_went_well_costs_nothing() -> None:
    budget = RetryBudget(VirtualTime().now)
    budget.take("busy")
    budget.give_back("busy")
    budget.give_back("busy")

    assert budget.coins == CAPACITY


def test_success_fills_the_purse_again() -> None:
    time = VirtualTime()
    budget = RetryBudget(time.now)
    while budget.take("transient"):
        pass

    for _ in range(COSTS["transient"]):
        budget.succeeded(time.now())

    assert budget.take("transient")


def test_retries_are_a_part_of_the_requests_with_a_floor() -> None:
    time = VirtualTime()
    budget = RetryBudget(time.now)
    for _ in range(1000):
        budget.asked(0.0)

    assert successful_retries(budget) == FLOOR + RATIO * 1000
    time.seconds = 10.0
    assert successful_retries(budget) == FLOOR


def successful_retries(budget: RetryBudget) -> int:
    taken = 0
    while budget.take("transient"):
        budget.give_back("transient")
        taken += 1
    return taken
