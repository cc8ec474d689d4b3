"""A stretch of bytes, half-open: from `start` up to but not including `stop`."""

from typing import NamedTuple


class Span(NamedTuple):
    """Bytes `start` to `stop` (exclusive), counted from 0."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start
