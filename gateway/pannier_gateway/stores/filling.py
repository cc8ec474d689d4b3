"""A page of a listing while it fills. It is bounded by what it shows and by its bytes: a thousand
objects may have 16 KiB of custom fields each, or more where others wrote them."""

from pannier_gateway.stores.base import Page, Record

MOST_BYTES = 2 << 20  # of what varies in size, above which a page ends


class Filling:
    """Takes records and prefixes in order until it is `full`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records: list[Record] = []
        self._prefixes: list[str] = []
        self._bytes = 0
        self._last = ""

    def __repr__(self) -> str:
        return f"<Filling {len(self._records)} records, {len(self._prefixes)} prefixes>"

    @property
    def full(self) -> bool:
        shown = len(self._records) + len(self._prefixes)
        return shown == self._limit or self._bytes >= MOST_BYTES

    def add(self, entry: Record | str) -> None:
        if isinstance(entry, Record):
            self._records.append(entry)
            self._bytes += weight(entry)
            self._last = entry.path
        else:
            self._prefixes.append(entry)
            self._last = entry

    def page(self, *, more: bool) -> Page:
        """All so far; `more`: another one follows."""
        return Page(tuple(self._records), tuple(self._prefixes), self._last if more else None)


def weight(record: Record) -> int:
    """Bytes, or so, of what varies in size from record to record."""
    kept = record.attributes
    texts = (record.path, kept.content_type, kept.origin or "", kept.filename or "")
    return sum(map(len, texts)) + sum(len(n) + len(text) for n, text in kept.custom.items())
