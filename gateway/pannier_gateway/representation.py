"""Which form of an object a reader gets, and which bytes of it. Pure: decided from the record."""

from typing import Literal

from msgspec import Struct

from pannier_gateway.conditions import (
    UNCONDITIONAL,
    Conditions,
    Outcome,
    Validators,
    check_read,
    range_applies,
)
from pannier_gateway.errors import PreconditionFailed
from pannier_gateway.negotiation import Coding, choose
from pannier_gateway.ranges import RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Record, encoded_etag


class Ask(Struct, frozen=True):
    """What a reader wants."""

    accept_encoding: str | None = None
    range: RangeSpec | None = None
    conditions: Conditions = UNCONDITIONAL
    as_sent: bool = False  # the stock client: as zstd exactly what a client sent as zstd


class Answer(Struct, frozen=True):
    """What a reader gets: one form of an object, all (200), a span (206) or nothing of it (304)."""

    record: Record
    status: Literal[200, 206, 304]
    coding: Coding
    etag: str  # of that form
    size: int | None  # of that form; None: not known before it has been decoded
    span: Span | None  # the bytes of that form to send; None: all of them

    @property
    def decoded(self) -> bool:
        """The form is made by decoding what is stored."""
        return self.coding == "identity" and self.record.attributes.encoding is not None

    @property
    def length(self) -> int | None:
        """How many bytes the body has."""
        return self.size if self.span is None else self.span.size


def answer(record: Record, ask: Ask) -> Answer:
    """Raises NotAcceptable, PreconditionFailed, RangeNotSatisfiable."""
    coding = choose_coding(record, ask)
    encoded = coding == "zstd"
    etag = encoded_etag(record.etag) if encoded else record.etag
    decoded = not encoded and record.attributes.encoding is not None
    size = record.attributes.original_size if decoded else record.size
    if known_already(ask.conditions, etag, record):
        return Answer(record, 304, coding, etag, size, None)
    if ask.range is None or size is None or not range_applies(ask.conditions, etag):
        return Answer(record, 200, coding, etag, size, None)
    return Answer(record, 206, coding, etag, size, ask.range.resolve(size))


def choose_coding(record: Record, ask: Ask) -> Coding:
    attributes = record.attributes
    if ask.as_sent:
        return "zstd" if attributes.by_client and attributes.encoding else "identity"
    return choose(ask.accept_encoding, attributes.encoding, decodable=attributes.decodable)


def known_already(conditions: Conditions, etag: str, record: Record) -> bool:
    """Whether the reader has the form tagged `etag`. Raises PreconditionFailed."""
    if conditions == UNCONDITIONAL:
        return False
    match check_read(conditions, Validators((etag,), record.created)):
        case Outcome.FAILED:
            raise PreconditionFailed()
        case outcome:
            return outcome is Outcome.NOT_MODIFIED
