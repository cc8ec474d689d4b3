"""Pages of a listing, read from the index. A folded prefix is jumped over, not read.

A page is bounded by what it shows and by its bytes: a thousand objects may have 16 KiB of custom
fields each.
"""

import sqlite3

from pannier_gateway.stores.base import (
    Listing,
    Page,
    Record,
    after_prefix,
    common_prefix,
    resumed_prefix,
)
from pannier_gateway.stores.file import index
from pannier_gateway.stores.file.row import Row

MOST_BYTES = 2 << 20  # of paths and attributes, above which a page ends


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
        self._records: list[Record] = []
        self._prefixes: list[str] = []
        self._bytes = 0
        self._last = ""
        self._more = False
        self.resume_at: str | None = first_path(listing)

    def add(self, row: Row) -> bool:
        """Take the next row; False when the scan should stop here (see `resume_at`)."""
        if self._full:
            self._more, self.resume_at = True, None
            return False
        folded = common_prefix(row.path, self._listing)
        if folded is None:
            self._records.append(row.record)
            self._bytes += len(row.path) + len(row.attributes)
            self._last = row.path
            return True
        self._prefixes.append(folded)
        self._last = folded
        self.resume_at = after_prefix(folded)
        return False

    @property
    def _full(self) -> bool:
        shown = len(self._records) + len(self._prefixes)
        return shown == self._listing.limit or self._bytes >= MOST_BYTES

    def page(self) -> Page:
        following = self._last if self._more else None
        return Page(tuple(self._records), tuple(self._prefixes), following)


def first_path(listing: Listing) -> str | None:
    """The least path that the listing may show; None when there is none."""
    shown = resumed_prefix(listing)
    if shown is not None:
        return after_prefix(shown)
    if listing.start_after < listing.prefix:
        return listing.prefix
    return listing.start_after + "\0"  # the very next text
