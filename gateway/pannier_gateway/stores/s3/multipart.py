"""A body of unknown length, in parts: one part is in memory at a time, and nothing is left behind
when it comes to nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

from pannier_gateway.errors import PannierError, TooLarge
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.s3.bucket import Headers, S3Bucket, SentPart, Unmet, part
from pannier_gateway.stores.s3.traits import Traits

log = logging.getLogger("pannier.store")

MIB = 1 << 20
FIRST_PARTS = 8 * MIB
GROWING = 1000  # parts after which parts become twice as large
MOST_PARTS = 10_000
COPIED_AT_ONCE = 4 << 30  # bytes; a part may be 5 GiB


class Parts:
    """A body cut into parts as it comes. `ended`: what was given last was the end of it."""

    def __init__(self, pieces: AsyncIterator[Buffer]) -> None:
        self.ended = False
        self._pieces = pieces
        self._number = 0
        self._beyond = b""  # what came after the part that was given last

    async def next(self) -> memoryview:
        """The next part: of full size but the last. Raises TooLarge and what the body does."""
        self._number += 1
        size = part_size(self._number)
        gathered = bytearray(self._beyond)
        while len(gathered) <= size and not self.ended:
            try:
                gathered += await anext(self._pieces)
            except StopAsyncIteration:
                self.ended = True
        view = memoryview(gathered)
        self._beyond = bytes(view[size:])
        self.ended = self.ended and not self._beyond
        return view[:size]


class Upload:
    """A multipart upload under way."""

    def __init__(self, bucket: S3Bucket, key: str, upload_id: str, traits: Traits) -> None:
        self._bucket = bucket
        self._key = key
        self._id = upload_id
        self._traits = traits
        self._parts: list[SentPart] = []

    @classmethod
    @asynccontextmanager
    async def begin(
        cls,
        bucket: S3Bucket,
        key: str,
        headers: Headers,
        traits: Traits,
        *,
        copying: bool = False,
    ) -> AsyncIterator["Upload"]:
        """An upload that is aborted unless the block ends well."""
        whole_checksum = traits.checksum == "crc64nvme" and not copying
        upload_id = await bucket.begin_upload(key, headers, whole_checksum=whole_checksum)
        try:
            yield cls(bucket, key, upload_id, traits)
        except BaseException:
            await ended(abort(bucket, key, upload_id))
            raise

    async def send(self, body: Buffer) -> None:
        number = len(self._parts) + 1
        named = part(self._id, number)
        checksum = self._traits.checksum
        self._parts.append(await self._bucket.upload_part(self._key, named, body, checksum))

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


def part_size(number: int) -> int:
    """Bytes of the part with this number, from 1. Raises TooLarge."""
    if number > MOST_PARTS:
        raise TooLarge("no store keeps an object of this size")
    return FIRST_PARTS << (number - 1) // GROWING


async def ended(work: Coroutine[None, None, None]) -> None:
    """Do `work` to its end, although whoever waits for it may be cancelled meanwhile."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])


async def abort(bucket: S3Bucket, key: str, upload_id: str) -> None:
    try:
        await bucket.abort_upload(key, upload_id)
    except (PannierError, Unmet) as error:
        log.warning("upload not aborted", extra={"key": key, "error": str(error)})
