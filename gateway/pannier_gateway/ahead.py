"""Which stored bytes a reader will most likely get, before the object is looked at.

A store behind a network is asked for these at once. A guess that is wrong costs a request more.
"""

from collections import OrderedDict

from pannier_gateway.codec import SeekTable, SeekTables
from pannier_gateway.errors import RangeNotSatisfiable
from pannier_gateway.negotiation import accepts
from pannier_gateway.ranges import EVERYTHING, NOTHING, RangeSpec
from pannier_gateway.representation import Ask
from pannier_gateway.stores.base import Record

END = RangeSpec(None, 64 * 1024)  # bytes in which the seek table of 3 GB lies
MOST_KNOWN = 4096  # paths: some 600 KiB


class Foresight:
    """What is known of one usecase's objects from ranges that were read before; `compressed`: of
    others it is taken that they are."""

    def __init__(
        self, tables: SeekTables, *, compressed: bool, most_known: int = MOST_KNOWN
    ) -> None:
        self._tables = tables
        self._compressed = compressed
        self._most_known = most_known
        self._plain: OrderedDict[str, None] = OrderedDict()  # where no object was compressed

    def __repr__(self) -> str:
        return f"<Foresight, {len(self._plain)} plain>"

    def likely(self, path: str, ask: Ask) -> RangeSpec:
        compressed = self._compressed and path not in self._plain
        return likely(ask, self._tables.get(path), compressed=compressed)

    def seen(self, path: str, record: Record) -> None:
        """A range was read there."""
        self._plain.pop(path, None)
        if self._compressed and record.attributes.encoding is None:
            self._plain[path] = None
            if len(self._plain) > self._most_known:
                self._plain.popitem(last=False)


def likely(ask: Ask, table: SeekTable | None, *, compressed: bool) -> RangeSpec:
    """`table` is that of the version read last; `compressed`: the usecase's objects mostly are."""
    conditions = ask.conditions
    if conditions.if_none_match is not None or conditions.if_modified_since is not None:
        return NOTHING  # who asks so has it already
    if ask.range is None:
        return EVERYTHING
    if as_stored(ask):
        return ask.range
    if table is not None:
        return frames(table, ask.range)
    return END if compressed else ask.range


def as_stored(ask: Ask) -> bool:
    """Whether the reader takes bytes as they are compressed: then a range counts these."""
    accepted = accepts(ask.accept_encoding or "")
    return not ask.as_sent and 0 < accepted.zstd >= accepted.identity


def frames(table: SeekTable, wanted: RangeSpec) -> RangeSpec:
    """Those that hold the decoded bytes wanted."""
    try:
        stored = table.locate(wanted.resolve(table.original_size)).stored
    except RangeNotSatisfiable:
        return NOTHING
    return RangeSpec(stored.start, stored.stop - 1)
