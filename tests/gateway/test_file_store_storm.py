"""kill -9 at any moment of a write storm: what was acknowledged is there, and nothing is half."""

from pathlib import Path

import pytest

from support.gateway import Gateway, running_gateway
from support.http_storm import HttpStorm
from support.ledger import Broken, Ledger, Object, Operation
from support.stores import strays
from support.storm import storm
from support.wire import exchange

ROUNDS = 300
GATEWAYS = 10
SEED = 8650


@pytest.mark.storm
@pytest.mark.timeout(300)
def test_a_killed_file_store_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    with storm(tmp_path / "store", SEED) as raging:
        for _ in range(ROUNDS):
            raging.round()

    tally = raging.ledger.tally
    assert tally.rounds == ROUNDS
    assert tally.acknowledged > 10 * ROUNDS
    assert 0 < tally.took_effect < tally.in_flight
    assert tally.orphans > ROUNDS / 10


@pytest.mark.storm
@pytest.mark.timeout(120)
def test_a_killed_gateway_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    raging = HttpStorm(SEED)

    for _ in range(GATEWAYS):
        with running_gateway(tmp_path / "data") as gateway:
            raging.look(gateway)
            wait_for_tidiness(gateway, tmp_path / "data" / "default" / "main")
            raging.rage(gateway)
    with running_gateway(tmp_path / "data") as gateway:
        raging.look(gateway)

    assert raging.ledger.tally.acknowledged > 10 * GATEWAYS
    assert raging.ledger.tally.in_flight > GATEWAYS


def wait_for_tidiness(gateway: Gateway, root: Path) -> None:
    """Until the orphans that the start found are gone."""
    while strays(root):
        assert exchange(gateway.url, "GET", "/health").status == 200


# Storms prove nothing unless the ledger behind them is strict.


@pytest.fixture
def ledger() -> Ledger:
    """One object was written."""
    ledger = Ledger()
    ledger.begin(Operation(1, "put", "k", 100))
    ledger.done(1)
    return ledger


def written(number: int) -> Object:
    return Object(number, Operation(number, "put", "k", 100).body)


def test_what_was_acknowledged_must_be_found(ledger: Ledger) -> None:
    with pytest.raises(Broken, match="k is at version None"):
        ledger.settle({})


def test_what_was_in_flight_may_be_found_or_not() -> None:
    for found in ({}, {"k": written(1)}, {"k": written(2)}, {"k": written(3)}):
        ledger = Ledger()
        ledger.begin(Operation(1, "put", "k", 100))
        ledger.begin(Operation(2, "create", "k", 100))
        ledger.begin(Operation(3, "create", "k", 100))

        ledger.settle(found)


def test_what_was_replaced_must_not_be_found(ledger: Ledger) -> None:
    ledger.begin(Operation(2, "put", "k", 100))
    ledger.done(2)

    with pytest.raises(Broken, match="version 1"):
        ledger.settle({"k": written(1)})


def test_what_was_deleted_must_not_be_found(ledger: Ledger) -> None:
    ledger.begin(Operation(2, "delete", "k", 0))
    ledger.done(2)

    with pytest.raises(Broken, match="version 1"):
        ledger.settle({"k": written(1)})


def test_half_an_object_must_not_be_found(ledger: Ledger) -> None:
    with pytest.raises(Broken, match="other bytes"):
        ledger.settle({"k": Object(1, written(1).body[:50])})


def test_what_nobody_wrote_must_not_be_found(ledger: Ledger) -> None:
    with pytest.raises(Broken, match="l is at version 1"):
        ledger.settle({"k": written(1), "l": written(1)})


def test_a_key_can_not_be_created_twice(ledger: Ledger) -> None:
    ledger.begin(Operation(2, "create", "k", 100))

    with pytest.raises(Broken, match="although 1 is there"):
        ledger.done(2)


def test_a_creator_can_not_be_refused_where_nothing_is() -> None:
    ledger = Ledger()
    ledger.begin(Operation(1, "create", "k", 100))

    with pytest.raises(Broken, match="refused although nothing was there"):
        ledger.refused(1)
