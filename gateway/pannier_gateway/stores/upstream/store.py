"""The store of a Bucket of type Upstream: first it finds out what the server is."""

import asyncio
from collections.abc import Callable
from functools import partial

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import ObjectNotFound, StoreMisanswered
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores import records
from pannier_gateway.stores.base import Draft, Listing, Page, Record, Source
from pannier_gateway.stores.exchanging import MOST_TOLD
from pannier_gateway.stores.remote import RemoteOpening
from pannier_gateway.stores.upstream.hub import ASKED, HubStore
from pannier_gateway.stores.upstream.plain import PlainStore
from pannier_gateway.stores.upstream.reading import UpstreamObject
from pannier_gateway.stores.upstream.refusals import NotServed
from pannier_gateway.stores.upstream.server import Server

HEALTH = "/health"


class UpstreamStore:
    """Implements Store, by what fits the server: asked once, and for good when it has answered."""

    def __init__(self, server: Server, prefix: str = "") -> None:
        self._server = server
        self._prefix = prefix
        self._found: HubStore | PlainStore | None = None
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<UpstreamStore {self._server.place}>"

    def __str__(self) -> str:
        """Where it is, and what was found there."""
        found = "not asked yet" if self._found is None else self._found.told
        return f"Upstream, {self._server.place}, {found}"

    @property
    def lost(self) -> bool:
        """A server is asked anew each time: there is nothing to be lost."""
        return False

    async def find_out(self) -> HubStore | PlainStore:
        """What the server is. Raises StoreMisanswered for none of the protocol."""
        if self._found is not None:
            return self._found
        async with self._asking:
            if self._found is None:  # else whoever was before us has asked
                self._found = await self._ask()
            return self._found

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> RemoteOpening:
        return RemoteOpening(partial(self._object, path), ahead)

    async def head(self, path: str) -> Record:
        return await (await self.find_out()).head(path)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        return await (await self.find_out()).put(path, source, draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        return await (await self.find_out()).delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        return await (await self.find_out()).touch(path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        return await (await self.find_out()).list(listing)

    async def _object(self, path: str) -> UpstreamObject:
        return await (await self.find_out()).find(path)

    async def _ask(self) -> HubStore | PlainStore:
        try:
            async with self._server.ask("GET", HEALTH, ASKED) as answer:
                well = (await answer.whole(MOST_TOLD)).strip() == b"OK"
                speaks = answer.headers.get(records.HEADER) == records.VERSION
        except (ObjectNotFound, NotServed) as error:
            raise self._no_objectstore() from error
        if not well:
            raise self._no_objectstore()
        return (HubStore if speaks else PlainStore)(self._server, self._prefix)

    def _no_objectstore(self) -> StoreMisanswered:
        return StoreMisanswered(
            f"{self._server.place} has no {HEALTH}: it is no objectstore, check endpoints"
        )
