"""Uploads that are sent again.

One whose answer was lost is looked for before that: an object that is there with its time, its
attributes and its checksum is the one that was sent.
"""

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from awscrt.checksums import crc64nvme
from msgspec.structs import replace

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import ObjectNotFound, PannierError, PreconditionFailed
from pannier_gateway.resilience.failures import judge
from pannier_gateway.resilience.retry import Retrier
from pannier_gateway.resilience.spool import Spool, Tape
from pannier_gateway.span import Span
from pannier_gateway.stores.around import StoreAround
from pannier_gateway.stores.base import Buffer, Draft, Record, Source, Store

Count = Callable[[str], None]


class ReplayStore(StoreAround):
    """The Store seam around another store, whose uploads fail and lose their answers.

    `torn` counts uploads that can't be sent again, by reason; `sought` those that were looked for:
    `found` or `absent`.
    """

    def __init__(
        self, store: Store, trying: "Trying", spool: Spool, torn: Count, sought: Count
    ) -> None:
        super().__init__(store)
        self._trying = trying
        self._spool = spool
        self._torn = torn
        self._sought = sought

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        target = Target(self._store, path, conditions, self._sought)
        if source.whole is not None:
            sending = Sending(target, Whole(source.whole), SteadyDraft(draft))
            return await self._trying.at_hand.run("put", sending.attempt)
        tape = Tape(source, self._spool, self._torn)
        try:
            sending = Sending(target, tape, SteadyDraft(draft))
            streamed = self._trying.streamed
            return await streamed.run("put", sending.attempt, sending.able)
        finally:
            await tape.close()


class Trying(NamedTuple):
    """How hard: for bodies at hand, and for those in which more time has gone already."""

    at_hand: Retrier
    streamed: Retrier


class Whole:
    """A body at hand: a Source."""

    __slots__ = ("whole",)

    ended = replayable = True  # there is nothing to come, and all to send

    def __init__(self, whole: bytes) -> None:
        self.whole: bytes | None = whole

    @property
    def size(self) -> int:
        return len(self.whole or b"")

    @property
    def checksum(self) -> int:
        return int(crc64nvme(self.whole or b""))

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        yield self.whole or b""


class SteadyDraft:
    """What is kept beside the bytes: of the same moment at every attempt. `made` is the last."""

    __slots__ = ("_draft", "made")

    def __init__(self, draft: Callable[[], Draft]) -> None:
        self.made: Draft | None = None
        self._draft = draft

    def __call__(self) -> Draft:
        """A store may ask early, and again when the body has told more of itself."""
        draft = self._draft()
        if self.made is not None:
            draft = Draft(self.made.created, self.made.expires, draft.attributes)
        self.made = draft
        return draft


class Target:
    """Where an upload goes, and how to look for it there."""

    __slots__ = ("_sought", "conditions", "path", "store")

    def __init__(self, store: Store, path: str, conditions: Conditions, sought: Count) -> None:
        self.store = store
        self.path = path
        self.conditions = conditions
        self._sought = sought

    async def find(self, draft: Draft, size: int, checksum: int) -> Record | None:
        """The object, where it is the one that was sent. Raises what the store does."""
        record = await self._find(draft, size, checksum)
        self._sought("absent" if record is None else "found")
        return record

    async def _find(self, draft: Draft, size: int, checksum: int) -> Record | None:
        try:
            record = await self.store.head(self.path)
            if not made_of(record, draft, size):
                return None
            same = await self._checksum(record) == checksum
        except ObjectNotFound:
            return None
        return record if same else None

    async def _checksum(self, record: Record) -> int | None:
        """Of the bytes as they lie in the store; None where that is another version by now."""
        async with self.store.open(self.path) as reading:
            if reading.record.etag != record.etag:
                return None
            checksum = 0
            async for piece in reading.chunks(Span(0, record.size)):
                checksum = crc64nvme(piece, checksum)
            return checksum


class Sending:
    """One upload, however many tries it takes."""

    __slots__ = ("_body", "_draft", "_failed", "_target")

    def __init__(self, target: Target, body: Whole | Tape, draft: SteadyDraft) -> None:
        self._target = target
        self._body = body
        self._draft = draft
        self._failed: PannierError | None = None  # though it may have been done all the same

    def able(self) -> bool:
        """Whether there is something left to try: what can't be sent again may yet be found."""
        return self._body.replayable or self._failed is not None

    async def attempt(self) -> Record:
        if self._failed is not None:
            if (found := await self._find()) is not None:
                return found
            if not self._body.replayable:
                raise self._failed
        target = self._target
        try:
            return await target.store.put(target.path, self._body, self._draft, target.conditions)
        except PreconditionFailed:  # our own object may be what is in the way
            if self._failed is not None and (found := await self._find()) is not None:
                return found
            raise
        except PannierError as error:
            complete = self._body.ended and self._draft.made is not None
            if complete and judge(error).maybe_done:
                self._failed = error
            raise

    async def _find(self) -> Record | None:
        assert self._draft.made is not None
        return await self._target.find(self._draft.made, self._body.size, self._body.checksum)


def made_of(record: Record, draft: Draft, size: int) -> bool:
    """Whether `record` is what an upload of so many bytes would have left: its time is ours alone,
    to the microsecond. A store may not have come to writing the size before encoding."""
    attributes = draft.attributes
    if record.attributes.original_size is None:
        attributes = replace(attributes, original_size=None)
    kept = (record.size, record.created, record.expires, record.attributes)
    return kept == (size, draft.created, draft.expires, attributes)
