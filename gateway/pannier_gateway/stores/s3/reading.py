"""An object of S3 as it is asked for: by the version found, and checked as its engine allows."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from awscrt.checksums import crc64nvme

from pannier_gateway.errors import Damaged
from pannier_gateway.stores.base import Buffer, Record
from pannier_gateway.stores.exchanging import StoreExchange
from pannier_gateway.stores.s3.bodies import encoded
from pannier_gateway.stores.s3.bucket import Headers, S3Bucket
from pannier_gateway.stores.s3.metadata import stored_object, tag_of
from pannier_gateway.upstream.connection import Answer


class S3Object:
    """Implements RemoteObject."""

    def __init__(self, path: str, key: str, bucket: S3Bucket) -> None:
        self._path = path
        self._key = key
        self._bucket = bucket

    @property
    def place(self) -> str:
        return self._bucket.place

    async def get(self, headers: Headers) -> StoreExchange:
        return await self._bucket.read(self._key, headers)

    async def head(self) -> Answer:
        return await self._bucket.head(self._key)

    def record(self, answer: Answer) -> Record:
        return stored_object(self._path, self._bucket.recognized(answer).headers).record

    def guard(self, answer: Answer, record: Record) -> Headers:
        return {"if-match": tag_of(answer.headers)}

    def check(self, answer: Answer, data: bytes) -> None:
        expected = whole_checksum(answer)
        if expected is not None and told(crc64nvme(data)) != expected:
            raise self._damaged()

    async def pieces(self, answer: Answer, size: int) -> AsyncGenerator[Buffer, None]:
        """The last of all bytes only once the checksum of the whole is right. Raises Damaged."""
        expected = whole_checksum(answer)
        checksum, count = 0, 0
        async with aclosing(self._bucket.pieces(answer)) as pieces:
            async for piece in pieces:
                if expected is not None:
                    checksum = crc64nvme(piece, checksum)
                    count += len(piece)
                    if count >= size and told(checksum) != expected:
                        raise self._damaged()
                yield piece

    def _damaged(self) -> Damaged:
        return Damaged(f"{self.place}: {self._path!r} fails its checksum")


def told(checksum: int) -> str:
    """As a store tells of it."""
    return encoded(checksum.to_bytes(8, "big"))


def whole_checksum(answer: Answer) -> str | None:
    """The CRC64NVME that the store has of all bytes, where it tells."""
    composite = answer.headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT"
    return None if composite else answer.headers.get("x-amz-checksum-crc64nvme")
