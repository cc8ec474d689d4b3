"""What the server answers, as values."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class PutResult:
    """A stored object. `etag` is None where the server gives none; `size` is bytes sent."""

    key: str
    etag: str | None
    size: int


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object of a listing. Times are microseconds since the epoch, sizes are bytes.

    `size` is what is stored, `original_size` what was there before compression, where known.
    """

    key: str
    size: int
    etag: str | None = None
    content_type: str | None = None
    time_created: int | None = None
    time_expires: int | None = None
    original_size: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; `next` is where the following page starts, None after the last."""

    objects: tuple[ObjectEntry, ...]
    prefixes: tuple[str, ...]
    next: str | None


class ByteRange(NamedTuple):
    """The half-open bytes `start` to `stop` of the `total` that the object has."""

    start: int
    stop: int
    total: int
