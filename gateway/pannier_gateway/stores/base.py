"""The Store seam: what the gateway asks of a place where objects are kept.

Paths are flat text, compared and listed by their UTF-8 bytes; a store gives no meaning to `/`,
`..` or case. An expired object is absent for every method. Times are microseconds since the epoch.
Beside what it says of itself, any method may raise StoreUnavailable or Damaged.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Literal, Protocol, runtime_checkable

from msgspec import Meta, Struct

from pannier.protocol.expiration import Policy
from pannier_gateway import moments
from pannier_gateway.conditions import UNCONDITIONAL, Conditions, Validators
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.span import Span

Buffer = bytes | memoryview

_ETAG = r"[!#-~]*"

Moment = Annotated[int, Meta(ge=0, le=moments.LAST)]
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)]
ETag = Annotated[str, Meta(pattern=rf"^{_ETAG}\Z")]
"""What is read from elsewhere is held to these, where it is decoded."""


class Attributes(Struct, frozen=True, omit_defaults=True):
    """What is kept beside the bytes and means nothing to a store."""

    content_type: str = "application/octet-stream"
    encoding: Literal["zstd"] | None = None
    by_client: bool = False  # the encoding is the client's own: the bytes are as it sent them
    original_size: Amount | None = None  # bytes before encoding; None: not encoded, or not known
    foreign_encoding: str | None = None  # that others gave it: told to readers, never decoded
    decodable: bool = True  # False: the encoding takes more memory to decode than readers get
    policy: Policy = "manual"
    after: Amount | None = None  # of the policy, in microseconds
    origin: str | None = None
    filename: str | None = None
    custom: dict[str, str] = {}


class Draft(Struct, frozen=True):
    """An object about to be stored: all but its bytes."""

    created: int
    expires: int | None
    attributes: Attributes


class Record(Struct, frozen=True):
    """What a store knows of an object. `size` is of the stored bytes; `etag` names this version."""

    path: str
    size: Amount
    etag: ETag
    created: Moment
    expires: Moment | None
    attributes: Attributes

    @property
    def validators(self) -> Validators:
        """The entity tags of every representation, and the date."""
        if self.attributes.encoding is None:
            return Validators((self.etag,), self.created)
        return Validators((self.etag, encoded_etag(self.etag)), self.created)

    def expired(self, now: int) -> bool:
        return self.expires is not None and self.expires <= now


class Page(Struct, frozen=True):
    """One page of a listing, and where the next begins (None: this was the last)."""

    records: tuple[Record, ...]
    prefixes: tuple[str, ...] = ()
    next: str | None = None


class Listing(Struct, frozen=True):
    """What to list: paths with `prefix`, after `start_after`, at most `limit` entries.

    With a `delimiter`, paths that go on past one (searched after the prefix) are folded into one
    common prefix, which counts as one entry.
    """

    prefix: str
    start_after: str = ""
    limit: int = 1000
    delimiter: str = ""


class Source(Protocol):
    """A body on its way in."""

    whole: bytes | None  # all of it, where it is small enough to be at hand

    def __aiter__(self) -> AsyncIterator[Buffer]: ...


class Reading(Protocol):
    """An object held open: its bytes stay those of `record` whatever happens to the path."""

    record: Record
    whole: bytes | None  # all of the stored bytes, where they came with the record

    def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        """The stored bytes of `span`, in order; a piece is good until the next is asked for.

        Raises Damaged rather than give a wrong byte.
        """
        ...


class Store(Protocol):
    """Keeps objects."""

    def open(
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        """Hold an object open. Raises ObjectNotFound.

        `ahead`: the stored bytes that will most likely be read, for stores that are asked anew for
        others; it changes nothing about what can be read.
        """
        ...

    async def head(self, path: str) -> Record:
        """Raises ObjectNotFound."""
        ...

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        """Store all of `source` or nothing.

        `draft` counts as it is once the last byte has come, and may be asked before, for what is
        known by then.

        Whoever reads meanwhile gets the old object or the new one. Raises PreconditionFailed,
        StoreFull, and whatever `source` raises.
        """
        ...

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        """Forget an object; False when there was none. Raises PreconditionFailed."""
        ...

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        """Move the expiry of that very version; False when it is no longer the one."""
        ...

    async def list(self, listing: Listing) -> Page:
        """The records in the order of their paths' UTF-8 bytes."""
        ...


@runtime_checkable
class Sweepable(Protocol):
    """A store that has to be told to forget what has expired."""

    async def sweep(self, limit: int) -> int:
        """Delete at most `limit` expired objects; how many there were."""
        ...


def is_etag(text: str) -> bool:
    """Whether an answer can hold it between quotes (RFC 9110, section 8.8.3; ASCII alone)."""
    return bool(re.fullmatch(_ETAG, text))


def encoded_etag(etag: str) -> str:
    """The tag of the zstd representation, next to that of the decoded one."""
    return f"{etag}-zstd"


def after_prefix(prefix: str) -> str | None:
    """The first text above everything that starts with `prefix`; None where nothing is.

    By UTF-8 bytes, which for valid text is the order of code points.
    """
    for end in range(len(prefix), 0, -1):
        following = ord(prefix[end - 1]) + 1
        if following <= 0x10FFFF:
            beyond_surrogates = 0xE000 if 0xD800 <= following < 0xE000 else following
            return prefix[: end - 1] + chr(beyond_surrogates)
    return None


def common_prefix(path: str, listing: Listing) -> str | None:
    """The prefix that `path` folds into, or None when it stands for itself."""
    if not listing.delimiter:
        return None
    cut = path.find(listing.delimiter, len(listing.prefix))
    return None if cut < 0 else path[: cut + len(listing.delimiter)]


def resumed_prefix(listing: Listing) -> str | None:
    """The common prefix that the page before ended with: all under it has been told."""
    if not listing.start_after.startswith(listing.prefix):
        return None
    folded = common_prefix(listing.start_after, listing)
    return folded if folded == listing.start_after else None
