"""Which stored bytes a reader will most likely get, before anything is known of the object. Pure.

A store behind a network is asked for these at once. A guess that is wrong costs a request more.
"""

from pannier_gateway.codec import SeekTable
from pannier_gateway.errors import RangeNotSatisfiable
from pannier_gateway.negotiation import accepts
from pannier_gateway.ranges import EVERYTHING, NOTHING, RangeSpec
from pannier_gateway.representation import Ask

END = RangeSpec(None, 64 * 1024)  # bytes in which the seek table of 3 GB lies


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
