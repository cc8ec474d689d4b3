"""What a store around another one hands on: everything that it has no part in."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Draft, Listing, Page, Reading, Record, Source, Store


class StoreAround:
    """The Store seam around another store; to be derived from."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._store!r}>"

    def open(
        self, path: str, ahead: RangeSpec = EVERYTHING
    ) -> AbstractAsyncContextManager[Reading]:
        return self._store.open(path, ahead)

    async def head(self, path: str) -> Record:
        return await self._store.head(path)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        return await self._store.put(path, source, draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        return await self._store.delete(path, conditions)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        return await self._store.touch(path, etag, expires)

    async def list(self, listing: Listing) -> Page:
        return await self._store.list(listing)


class OpeningAround:
    """The end of what a store around another one has opened; the beginning is its own."""

    __slots__ = ("_opening",)

    _opening: AbstractAsyncContextManager[Reading]

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[object, object, bool | None]:
        return self._opening.__aexit__(kind, error, trace)
