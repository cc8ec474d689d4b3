"""A body of unknown length, in parts: one is kept at a time, and nothing is left behind when it
comes to nothing."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from pannier_gateway.errors import PannierError, TooLarge
from pannier_gateway.stores.base import Buffer, Source
from pannier_gateway.stores.provision import Attempt, Kept
from pannier_gateway.stores.s3.bodies import Body, size_of
from pannier_gateway.stores.s3.bucket import Headers, S3Bucket, SentPart, part
from pannier_gateway.stores.s3.persistent import steadily
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.threads import to_the_end

log = logging.getLogger("pannier.store")

MIB = 1 << 20
FIRST_PARTS = 8 * MIB
GROWING = 1000  # parts after which parts become twice as large
MOST_PARTS = 10_000
COPIED_AT_ONCE = 4 << 30  # bytes; a part may be 5 GiB

T = TypeVar("T")


class Again(Protocol):
    """What `attempt` returns in the end, where its failures pass."""

    async def __call__(
        self, attempt: Attempt[T], size: int | None = None, path: str | None = None, /
    ) -> T: ...


async def once(attempt: Attempt[T], _size: int | None = None, _path: str | None = None) -> T:
    """For those who want to see failures as they come."""
    return await attempt()


class Parts:
    """A body cut into parts as it comes: an `async with` block.

    `ended`: what was given last was the end of it.
    """

    def __init__(
        self, pieces: AsyncIterator[Buffer], keep: Callable[[Source], Awaitable[Kept]]
    ) -> None:
        self.ended = False
        self._keep = keep
        self._pieces = pieces
        self._number = 0
        self._beyond: Buffer = b""  # what came after the part that was given last
        self._given: Kept | None = None

    async def __aenter__(self) -> "Parts":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._given is not None:
            await self._given.close()

    async def next(self) -> Kept:
        """The next part, in place of the last: of full size but at the end.

        Raises TooLarge, Overloaded, and what the body does.
        """
        if self._given is not None:
            await self._given.close()
        self._number += 1
        async with aclosing(self._next(part_size(self._number))) as pieces:
            self._given = await self._keep(Cut(pieces))
        return self._given

    async def _next(self, size: int) -> AsyncGenerator[Buffer, None]:
        """`size` bytes, or what there is; whether there is more is known by then."""
        while not self.ended:
            if len(self._beyond) > size:
                self._beyond = memoryview(self._beyond)  # whoever made it may hold it all the same
            piece, self._beyond = self._beyond[:size], self._beyond[size:]
            size -= len(piece)
            if piece:
                yield piece
            del piece  # not to be held beside the next
            if self._beyond:
                return
            try:
                self._beyond = await anext(self._pieces)
            except StopAsyncIteration:
                self.ended = True


class Cut:
    """A Source of some of the pieces."""

    whole: bytes | None = None

    def __init__(self, pieces: AsyncIterator[Buffer]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self._pieces


class Uploads(NamedTuple):
    """How uploads in parts are done; what fails on its way is done `again`."""

    bucket: S3Bucket
    traits: Traits
    again: Again = once

    @asynccontextmanager
    async def begin(
        self, key: str, headers: Headers, *, copying: bool = False
    ) -> AsyncIterator["Upload"]:
        """An upload that is aborted unless the block ends well."""
        whole_checksum = self.traits.checksum == "crc64nvme" and not copying
        begin = self.bucket.begin_upload
        upload_id = await self.again(lambda: begin(key, headers, whole_checksum=whole_checksum))
        try:
            yield Upload(self, key, upload_id)
        except BaseException:
            await to_the_end(asyncio.create_task(abort(self.bucket, key, upload_id)))
            raise


class Upload:
    """A multipart upload under way."""

    def __init__(self, way: Uploads, key: str, upload_id: str) -> None:
        self._bucket = way.bucket
        self._way = way
        self._key = key
        self._id = upload_id
        self._parts: list[SentPart] = []

    async def send(self, body: Body) -> None:
        named = part(self._id, len(self._parts) + 1)
        upload, checksum = self._bucket.upload_part, self._way.traits.checksum
        send = partial(upload, self._key, named, body, checksum)
        self._parts.append(await self._way.again(send, size_of(body)))

    async def copy(self, source_headers: Headers, size: int) -> None:
        """All of the object that is under the key now, in as few parts as possible."""
        for start in range(0, size, COPIED_AT_ONCE):
            stop = min(size, start + COPIED_AT_ONCE)
            span = {"x-amz-copy-source-range": f"bytes={start}-{stop - 1}"}
            headers = {**source_headers, **(span if size > COPIED_AT_ONCE else {})}
            named = part(self._id, len(self._parts) + 1)
            self._parts.append(await self._bucket.copy_part(self._key, self._key, named, headers))

    async def finish(self, guard: Headers) -> None:
        """Let the object be seen. Raises Unmet."""
        await self._bucket.end_upload(self._key, self._id, self._parts, guard)

    async def finish_unguarded(self, _: Headers) -> None:
        """As `finish`, where the engine obeys no condition there."""
        await self.finish({})


def part_size(number: int) -> int:
    """Bytes of the part with this number, from 1. Raises TooLarge."""
    if number > MOST_PARTS:
        raise TooLarge("no store keeps an object of this size")
    return FIRST_PARTS << (number - 1) // GROWING


async def abort(bucket: S3Bucket, key: str, upload_id: str) -> None:
    try:
        await steadily(partial(bucket.abort_upload, key, upload_id))
    except PannierError as error:
        log.warning("upload not aborted", extra={"key": key, "error": str(error)})
