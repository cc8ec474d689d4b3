"""What another gateway asks for: objects as they are kept, for readers and writers of its own."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager

from pannier_gateway.codec.budget import PASSING
from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.config.model import UsecaseConfig
from pannier_gateway.downloads import stored
from pannier_gateway.expiry import Lifetimes, check_times
from pannier_gateway.objects import Parts
from pannier_gateway.permit import Permit, check_ahead
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.sealed import Sealed
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Draft, Listing, Page, Reading, Record
from pannier_gateway.uploads import Body, UploadRules, granted


class KeptObjects:
    """The objects of one usecase, under the policy of one configuration, as they are kept."""

    def __init__(self, usecase: UsecaseConfig, permit: Permit, parts: Parts) -> None:
        self._permit = permit
        self._parts = parts
        self._lifetimes = Lifetimes(usecase)
        self._rules = UploadRules.of(usecase)

    def __repr__(self) -> str:
        return f"<KeptObjects {self._permit}>"

    def open(
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        """Hold an object open, and leave its deadline alone. Raises Suspended."""
        return self._permit.to_read().open(path, ahead)

    async def stored(self, reading: Reading, span: Span) -> AsyncGenerator[Buffer, None]:
        """Its bytes as they are. Raises MemoryFull."""
        return await stored(reading, span, self._parts.workers)

    async def head(self, path: str) -> Record:
        """Raises Suspended, ObjectNotFound."""
        return await self._permit.to_read().head(path)

    async def put(
        self, path: str, body: Body, conditions: Conditions = UNCONDITIONAL, opening: int = 0
    ) -> Record:
        """Store what another gateway has made of a body, behind an opening of so many bytes.

        Raises what the policy refuses.
        """
        store = self._permit.to_write()
        await check_ahead(store, path, conditions)
        upload = Sealed(body, self._check, opening)
        with self._parts.workers.budget.lease() as room:
            await granted(body.length, room, PASSING)
            await upload.begin()
            return await store.put(path, upload, upload.draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        """Whether there was one. Raises Suspended, ReadOnly, PreconditionFailed."""
        return await self._permit.to_write().delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        """Move the deadline of a version; whether it is still there. Raises Suspended, ReadOnly."""
        store = self._permit.to_write()
        record = await store.head(path)
        self._lifetimes.check_deadline(record.attributes, expires, self._parts.clock())
        return await store.touch(path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        """Raises Suspended."""
        return await self._permit.to_read().list(listing)

    def _check(self, size: int, draft: Draft | None) -> None:
        if draft is None:
            self._rules.check(size)
            return
        attributes, now = draft.attributes, self._parts.clock()
        self._rules.check(max(size, attributes.original_size or 0))
        check_times(draft, now)
        self._lifetimes.check_deadline(attributes, draft.expires, now)
