"""A write that may be tried more than once: what was done although its answer was lost is in the
way of the next try, or has used up its parts."""

from collections.abc import Awaitable, Callable

from pannier_gateway.errors import PannierError, StoreUnavailable

Seen = Callable[[], Awaitable[str | None]]


class Writing:
    """One write. `seen` tells the etag of what is there, `etag` is that of what is written."""

    def __init__(self, write: Callable[[], Awaitable[None]], seen: Seen, etag: str) -> None:
        self._write = write
        self._seen = seen
        self._etag = etag
        self._tried = False

    async def attempt(self) -> None:
        tried, self._tried = self._tried, True
        try:
            await self._write()
        except PannierError:
            if not tried or await self._seen() != self._etag:
                raise


class Completion(Writing):
    """The end of an upload in parts. Asked for it again, there are engines that say that it is done
    while they are still at it for the one who asked before: that is believed when it shows."""

    async def attempt(self) -> None:
        if not self._tried:
            await super().attempt()
            return
        before = await self._seen()
        if before == self._etag:
            return
        await super().attempt()
        if await self._seen() == before:
            raise StoreUnavailable("a store says that an upload is done, and shows none: ask again")
