"""An object of S3 held open: the answer that came with its record, and further ranges as asked."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from awscrt.checksums import crc64nvme

from pannier_gateway.errors import Damaged, ObjectNotFound, ObjectReplaced
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Record
from pannier_gateway.stores.s3.bodies import encoded
from pannier_gateway.stores.s3.bucket import S3Bucket, Unmet
from pannier_gateway.stores.s3.metadata import Stored, stored_object
from pannier_gateway.stores.s3.refusals import broken
from pannier_gateway.upstream.connection import Answer
from pannier_gateway.upstream.errors import ExchangeError

WHOLE = 64 * 1024  # bytes up to which a body is taken at once, and its connection given back
LAST = 64  # bytes of the end: who asks for so few goes on with what lies before them


class S3Reading:
    """The first reader from the first byte on gets the bytes that came with the record; others ask
    anew, and hear of it when the object has been replaced since."""

    def __init__(self, key: str, bucket: S3Bucket, stored: Stored, answer: Answer) -> None:
        self.record: Record = stored.record
        self.whole: bytes | None = None
        self._key = key
        self._bucket = bucket
        self._stored = stored
        self._answer: Answer | None = answer
        self._end: bytes | None = None  # the last bytes, once somebody has asked for some

    async def take_whole(self) -> None:
        """Have all of the bytes at hand. Raises Damaged."""
        pieces = self._checked(self._answer)
        self.whole = b"".join([bytes(piece) async for piece in pieces])

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        if not span.size:
            return
        at_hand = await self._at_hand(span)
        if at_hand is not None:
            yield at_hand
            return
        answer, self._answer = self._answer, None
        begun = answer is not None and span.start == 0
        async with aclosing(self._checked(answer) if begun else self._asked(span)) as pieces:
            async for piece in limited(pieces, span.size):
                yield piece

    async def _at_hand(self, span: Span) -> Buffer | None:
        """The bytes of `span` where they are kept here; those of the end are, once some have been
        asked for."""
        if self.whole is not None:
            return memoryview(self.whole)[span.start : span.stop]
        end = Span(self.record.size - WHOLE, self.record.size)
        if self._end is None and span.stop == end.stop and span.size <= LAST:
            self._end = b"".join([bytes(piece) async for piece in self._asked(end)])
        if self._end is None or span.start < end.start:
            return None
        return memoryview(self._end)[span.start - end.start : span.stop - end.start]

    async def _asked(self, span: Span) -> AsyncGenerator[Buffer, None]:
        """A range, asked for of this very version."""
        headers = {"range": f"bytes={span.start}-{span.stop - 1}", "if-match": self._stored.tag}
        try:
            async with self._bucket.read(self._key, headers) as answer:
                self._check_range(answer, span)
                async for piece in answer.pieces():
                    yield piece
        except (Unmet, ObjectNotFound) as error:
            raise ObjectReplaced(f"{self.record.path!r} was replaced while it was read") from error

    def _check_range(self, answer: Answer, span: Span) -> None:
        size = self.record.size
        expected = f"bytes {span.start}-{span.stop - 1}/{size}"
        now = stored_object(self.record.path, answer.headers)
        if now.tag != self._stored.tag or now.record.etag != self.record.etag:
            raise ObjectReplaced(f"{self.record.path!r} was replaced while it was read")
        whole = answer.status == 200 and span == Span(0, size)
        if not whole and answer.headers.get("content-range") != expected:
            raise Damaged(f"{self._bucket.place} gave another range than {expected!r}")

    async def _checked(self, answer: Answer | None) -> AsyncGenerator[Buffer, None]:
        """All bytes, the last of them only once the checksum of the whole is right."""
        assert answer is not None
        expected = whole_checksum(answer)
        checksum, count = 0, 0
        with translated(self._bucket.place):
            async for piece in answer.pieces():
                checksum = crc64nvme(piece, checksum)
                count += len(piece)
                right = expected is None or encoded(checksum.to_bytes(8, "big")) == expected
                if count == self.record.size and not right:
                    raise Damaged(f"{self._bucket.place}: {self.record.path!r} fails its checksum")
                yield piece
        if count < self.record.size:
            said = f"{count} of {self.record.size} bytes of {self.record.path!r}"
            raise Damaged(f"{self._bucket.place} gave {said}")


async def limited(pieces: AsyncGenerator[Buffer, None], size: int) -> AsyncGenerator[Buffer, None]:
    """The first `size` bytes."""
    async for piece in pieces:
        yield piece[:size]
        size -= len(piece)
        if size <= 0:
            return


@contextmanager
def translated(place: str) -> Iterator[None]:
    """What breaks the exchange, in the words of a store."""
    try:
        yield
    except ExchangeError as error:
        raise broken(place, error) from error


def whole_checksum(answer: Answer) -> str | None:
    """The CRC64NVME that the store has of all bytes, where it tells."""
    composite = answer.headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT"
    return None if composite else answer.headers.get("x-amz-checksum-crc64nvme")
