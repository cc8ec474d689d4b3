"""What became of Buckets: which are up, what is told of it, and when the others are tried again."""

from itertools import pairwise

import pytest

from pannier_gateway.stores.buckets import Absence, Buckets
from pannier_gateway.stores.tenancy import OpenStores, Tenancy


class Shelf:
    """Stands for a store that may be lost, and replaced."""

    def __init__(self, *, lost: bool = False, replaced: bool = False) -> None:
        self.lost = lost
        self.replaced = replaced

    def __str__(self) -> str:
        return "a shelf"


class Cloud:
    """Stands for a store that nothing can replace."""

    lost = False


BROKEN = Absence("the disk in /mnt is broken", "the disk is broken")


def buckets(**found: Shelf | Cloud | Absence) -> Buckets[Shelf | Cloud]:
    absent = {key: each for key, each in found.items() if isinstance(each, Absence)}
    stores = {key: each for key, each in found.items() if not isinstance(each, Absence)}
    return Buckets(Tenancy(OpenStores[Shelf | Cloud]()), stores, absent)


def test_each_is_shown_with_what_it_is_kept_in_or_why_it_is_not() -> None:
    shown = buckets(kept=Shelf(), broken=BROKEN).shown

    assert shown == {"kept": "a shelf", "broken": "the disk in /mnt is broken"}


def test_up_is_what_has_a_store_that_is_not_lost() -> None:
    found = buckets(kept=Shelf(), away=Cloud(), lost=Shelf(lost=True), broken=BROKEN)

    assert found.up == {"kept": True, "away": True, "lost": False, "broken": False}


@pytest.mark.parametrize(
    ("found", "wanting"),
    [
        (buckets(kept=Shelf(), away=Cloud()), False),
        (buckets(lost=Shelf(lost=True)), False),
        (buckets(kept=Shelf(), broken=BROKEN), True),
        (buckets(away=Cloud(), lost=Shelf(lost=True, replaced=True)), True),
    ],
    ids=["all open", "lost", "broken", "replaced"],
)
def test_what_another_try_may_open_is_wanting(
    found: Buckets[Shelf | Cloud], *, wanting: bool
) -> None:
    assert found.wanting == wanting


def test_what_changed_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pannier.store")
    states = [
        buckets(),
        buckets(first=BROKEN),
        buckets(first=BROKEN),
        buckets(first=Shelf()),
    ]
    for before, after in pairwise(states):
        after.tell(before)

    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("ERROR", "bucket not served"),
        ("INFO", "bucket served again"),
    ]
