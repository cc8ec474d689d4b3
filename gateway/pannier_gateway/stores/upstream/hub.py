"""Another gateway as a store: all of the seam, in the words of `stores.records`."""

from collections.abc import Callable

import msgspec
from awscrt.checksums import crc64nvme
from msgspec.structs import replace

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.dates import http_date
from pannier_gateway.errors import (
    ObjectNotFound,
    PreconditionFailed,
    StoreMisanswered,
)
from pannier_gateway.stores import records, seals
from pannier_gateway.stores.base import Draft, Listing, Page, Record, Source
from pannier_gateway.stores.upstream.reader import UpstreamReader
from pannier_gateway.stores.upstream.server import Headers
from pannier_gateway.stores.upstream.targets import (
    existing_target,
    listing_target,
    place_of,
    target_of,
)
from pannier_gateway.upstream.connection import Answer
from pannier_gateway.upstream.request import Streamed

ASKED = {records.HEADER: records.VERSION}
SMALL = 64 * 1024  # bytes up to which the other side has a body at hand before it stores it
MOST_LISTED = 64 << 20  # bytes of a page
LONGEST_PAGE = 1000  # entries that a gateway gives at once


class HubStore(UpstreamReader):
    """Implements Store. Keys get `prefix` upstream, and lose it again."""

    told = "a gateway, which keeps every promise"

    asked = ASKED

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        target = target_of(path, self._prefix)
        headers = ASKED | condition_headers(conditions)
        body: bytes | Streamed
        if source.whole is not None and len(source.whole) <= SMALL:
            body = source.whole + seals.sealed(draft(), crc64nvme(source.whole))
        else:
            opening = seals.opening(draft())
            headers |= {seals.OPENING: str(len(opening))}
            body = Streamed(seals.sealing(opening, source, draft))
        async with self._server.ask("PUT", target, headers, body) as answer:
            return self._record(path, answer)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        headers = ASKED | condition_headers(conditions)
        return await self._found("DELETE", path, headers)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        move = msgspec.msgpack.encode(records.Move(etag, expires))
        return await self._found("PATCH", path, ASKED, move)

    async def list(self, listing: Listing) -> Page:
        base = place_of(listing.prefix).base
        if not listing.start_after.startswith(base):
            if listing.start_after > base:  # the base is ASCII: this is the order of UTF-8, too
                return Page(())
            listing = replace(listing, start_after="")
        listing = replace(listing, limit=min(listing.limit, LONGEST_PAGE))
        async with self._server.ask("GET", listing_target(listing, self._prefix), ASKED) as answer:
            return self._cut(base, await self._page(answer))

    async def _found(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> bool:
        """Whether there was what `method` was to change."""
        try:
            target = existing_target(path, self._prefix)
            await self._server.have_done(method, target, headers, body)
        except ObjectNotFound:
            return False
        return True

    def _guard(self, record: Record) -> Headers:
        return {"if-match": listed((record.etag,))}

    def _record(self, path: str, answer: Answer) -> Record:
        try:
            found = records.read(answer.headers.get(records.HEADER, ""))
        except records.Unreadable as error:
            raise StoreMisanswered(f"{self._server.place}: {error}") from error
        return replace(found, path=path)

    async def _page(self, answer: Answer) -> Page:
        try:
            return records.read_page(await answer.whole(MOST_LISTED))
        except records.Unreadable as error:
            raise StoreMisanswered(f"{self._server.place}: {error}") from error

    def _cut(self, base: str, page: Page) -> Page:
        """`page` without the prefix that keys have upstream."""
        if not self._prefix:
            return page
        cut = len(base) + len(self._prefix)
        return Page(
            tuple(replace(each, path=base + each.path[cut:]) for each in page.records),
            tuple(base + each[cut:] for each in page.prefixes),
            None if page.next is None else base + page.next[cut:],
        )


def condition_headers(conditions: Conditions) -> dict[str, str]:
    """What of `conditions` a write goes by. Raises PreconditionFailed for what never holds."""
    if conditions.if_match == ():
        raise PreconditionFailed
    told = {
        "if-match": conditions.if_match and listed(conditions.if_match),
        "if-none-match": conditions.if_none_match and listed(conditions.if_none_match),
        "if-unmodified-since": (
            None
            if conditions.if_unmodified_since is None
            else http_date(conditions.if_unmodified_since)
        ),
    }
    return {name: text for name, text in told.items() if text}


def listed(tags: tuple[str, ...]) -> str:
    return "*" if tags == ("*",) else ", ".join(f'"{tag}"' for tag in tags)
