"""Which bytes of an object a reader asks for: the `Range` header, one range at a time."""

import re
from typing import NamedTuple

from pannier_gateway.errors import BadRequest, RangeNotSatisfiable
from pannier_gateway.span import Span

_RANGE = re.compile(r"bytes=([0-9]{0,100})-([0-9]{0,100})", re.IGNORECASE | re.ASCII)


class RangeSpec(NamedTuple):
    """What RFC 9110 calls so: bytes `first` to `last` inclusive, and to the end where `last` is
    None; where `first` is, the last `last` bytes."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> Span:
        """The bytes meant in an object of `size` bytes. Raises RangeNotSatisfiable."""
        if self.first is None:
            span = Span(max(0, size - (self.last or 0)), size)
        else:
            span = Span(self.first, size if self.last is None else min(self.last + 1, size))
        if span.start >= span.stop:
            raise RangeNotSatisfiable(f"the object has {size} bytes, none in that range", size)
        return span

    @property
    def header(self) -> str:
        """The value of `range`; of numbers beyond all sizes the largest that every store reads."""
        first, last = ("" if each is None else min(each, LARGEST) for each in self)
        return f"bytes={first}-{last}"


LARGEST = 2**63 - 1
EVERYTHING = RangeSpec(0, None)
NOTHING = RangeSpec(None, 0)


def parse_range(header: str | None) -> RangeSpec | None:
    """The range asked for; None for no header, or a list of ranges: then everything is sent.

    Raises BadRequest for anything else that is not one range of bytes, and for numbers of
    more than 100 digits.
    """
    if header is None or "," in header:
        return None
    if not (match := _RANGE.fullmatch(header)):
        raise _malformed(header)
    first, last = (int(digits) if digits else None for digits in match.groups())
    backwards = first is not None and last is not None and first > last
    if backwards or (first is None and not last):
        raise _malformed(header)
    return RangeSpec(first, last)


def content_range(span: Span | None, size: int) -> str:
    """The value of `content-range`: of a part, or (None) of a 416."""
    return f"bytes */{size}" if span is None else f"bytes {span.start}-{span.stop - 1}/{size}"


def _malformed(header: str) -> BadRequest:
    return BadRequest(f"range {header[:80]!r} is none of bytes=a-b, bytes=a- (a <= b), bytes=-n")
