"""When a page of a listing ends."""

import pytest

from pannier_gateway.stores.base import Attributes, Page, Record
from pannier_gateway.stores.filling import MOST_BYTES, Filling


def record(path: str, **custom: str) -> Record:
    return Record(path, 1, "e", 1, None, Attributes(custom=custom))


def test_a_page_is_full_at_its_limit_and_tells_records_from_prefixes() -> None:
    filling = Filling(2)
    full = [filling.full]
    for entry in (record("a"), "b/"):
        filling.add(entry)
        full.append(filling.full)

    assert full == [False, False, True]
    assert filling.page(more=False) == Page((record("a"),), ("b/",))
    assert filling.page(more=True) == Page((record("a"),), ("b/",), "b/")


@pytest.mark.parametrize("at", ["path", "custom", "filename"])
def test_a_page_of_heavy_records_is_full_before_its_limit(at: str) -> None:
    text, filling = "x" * (MOST_BYTES // 3 + 1), Filling(1000)
    heavy = {
        "path": record(text),
        "custom": record("k", field=text),
        "filename": Record("k", 1, "e", 1, None, Attributes(filename=text)),
    }[at]

    added = 0
    while not filling.full:
        filling.add(heavy)
        added += 1

    assert added == 3
