"""What a failure means."""

import pytest

from pannier_gateway import errors
from pannier_gateway.errors import (
    ArrivedDamaged,
    ClientError,
    Damaged,
    ObjectReplaced,
    Overloaded,
    PannierError,
    StoreBusy,
    StoreFull,
    StoreMisanswered,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.resilience.failures import judge
from pannier_gateway.upstream import errors as upstream
from pannier_gateway.upstream.errors import ExchangeError
from support.faulty import busy, caused, dead, silent, unreachable

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if issubclass(k, ClientError) and k is not ClientError]
)
def test_what_a_caller_did_is_never_tried_again(kind: type[ClientError]) -> None:
    assert judge(kind.__new__(kind)).kind == "permanent"


@pytest.mark.parametrize(
    "error",
    [
        StoreRefused("key"),
        StoreMisanswered("html"),
        StoreFull(),
        Damaged("rot"),
        ObjectReplaced("new"),
        Overloaded("enough"),
        PannierError("?"),
        ValueError("a bug"),
        ConnectionResetError("the client left"),
    ],
)
def test_what_will_not_pass_is_never_tried_again(error: Exception) -> None:
    assert judge(error).kind == "permanent"


def test_what_was_damaged_on_its_way_was_not_done_and_may_be_sent_again() -> None:
    assert judge(ArrivedDamaged("digest")) == (
        "transient",
        "ArrivedDamaged",
        False,
        False,
        False,
        None,
    )


def test_what_was_not_sent_was_not_done() -> None:
    assert judge(unreachable()) == ("transient", "ConnectFailed", False, False, False, None)


def test_what_was_sent_may_have_been_done() -> None:
    assert judge(silent()) == ("transient", "FirstByteTimedOut", True, False, False, None)
    assert judge(StoreUnavailable("500")).maybe_done
    assert judge(StoreTimedOut("504")).maybe_done


def test_a_connection_that_had_died_costs_nothing_but_may_have_delivered() -> None:
    assert judge(dead()) == ("transient", "KeptAliveDied", True, True, True, None)


def test_a_busy_store_says_how_long_to_wait_and_has_done_nothing() -> None:
    assert judge(busy(7.5)) == ("busy", "StoreBusy", False, False, False, 7.5)
    assert judge(busy()).wait is None


def test_a_full_pool_is_not_filled_further() -> None:
    failure = judge(caused(StoreUnavailable("busy"), upstream.PoolExhausted("all")))

    assert failure.kind == "permanent"


def test_the_cause_is_found_however_deep() -> None:
    middle = StoreUnavailable("once more")
    middle.__cause__ = unreachable()
    outer = StoreUnavailable("and again")
    outer.__cause__ = middle

    assert judge(outer).reason == "ConnectFailed"


@pytest.mark.parametrize(
    "kind",
    [k for k in vars(upstream).values() if isinstance(k, type) and issubclass(k, ExchangeError)],
)
def test_every_end_of_an_exchange_has_a_judgement(kind: type[ExchangeError]) -> None:
    failure = judge(caused(StoreUnavailable("?"), kind.__new__(kind)))

    assert failure.reason == kind.__name__
    assert failure.maybe_done != issubclass(kind, upstream.NotSent)


def test_a_client_is_told_to_wait_as_long_as_the_store_says() -> None:
    assert [StoreBusy("?", wait).retry_after for wait in (None, 0.0, 2.1)] == [1, 1, 3]
