"""Pages of a listing, read from the index. A folded prefix is jumped over, not read."""

import sqlite3

from pannier_gateway.stores.base import (
    Listing,
    Page,
    after_prefix,
    common_prefix,
    resumed_prefix,
)
from pannier_gateway.stores.file import index
from pannier_gateway.stores.file.row import Row
from pannier_gateway.stores.filling import Filling


def page(connection: sqlite3.Connection, listing: Listing, now: int) -> Page:
    """One page; costs what it shows, not what it folds.

    Raises Damaged rather than leave out an object whose row has rotted.
    """
    collected = Collected(listing)
    while (start := collected.resume_at) is not None:
        for row in index.scan(connection, listing.prefix, start):
            if not row.expired(now) and not collected.add(row):
                break
        else:
            collected.resume_at = None
    return collected.page()


class Collected:
    """What a page has so far, and from where to read on."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._filling = Filling(listing.limit)
        self._more = False
        self.resume_at: str | None = first_path(listing)

    def add(self, row: Row) -> bool:
        """Take the next row; False when the scan should stop here (see `resume_at`)."""
        if self._filling.full:
            self._more, self.resume_at = True, None
            return False
        folded = common_prefix(row.path, self._listing)
        if folded is None:
            self._filling.add(row.record)
            return True
        self._filling.add(folded)
        self.resume_at = after_prefix(folded)
        return False

    def page(self) -> Page:
        return self._filling.page(more=self._more)


def first_path(listing: Listing) -> str | None:
    """The least path that the listing may show; None when there is none."""
    shown = resumed_prefix(listing)
    if shown is not None:
        return after_prefix(shown)
    if listing.start_after < listing.prefix:
        return listing.prefix
    return listing.start_after + "\0"  # the very next text
