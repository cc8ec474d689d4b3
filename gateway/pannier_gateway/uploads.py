"""What becomes of a body on its way in: limited, sampled, compressed where that pays."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol

from msgspec import Struct

from pannier.protocol.metadata import Metadata
from pannier_gateway.codec import (
    SAMPLE_SIZE,
    Compressing,
    DecodedTooLarge,
    DecodeError,
    Measured,
    Measuring,
    NoRoom,
    compress_small,
    compressible,
    measure_small,
    pays,
    worthwhile,
)
from pannier_gateway.codec.budget import PASSING, Lease
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.model import UsecaseConfig
from pannier_gateway.errors import BadRequest, MemoryFull, TooLarge
from pannier_gateway.threads import in_thread

DEFAULT_LEVEL = 3
INLINE_LEVEL = 9  # up to here a sample is compressed on the event loop: a millisecond at most
UNBOUNDED = 1 << 62
CODING = 960 * 1024  # bytes that an upload holds: what passes, and the frame it is part of


class Body(Protocol):
    """A body that a client sends."""

    length: int | None  # in bytes, where the client says so beforehand

    def take_at_hand(self, most: int) -> bytes | None:
        """All of it, where it is no more than `most` bytes and has come already.

        None, and nothing taken, where it has yet to be read piece by piece.
        """

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class UploadRules(Struct, frozen=True):
    """What a usecase does with bodies that come in."""

    usecase: str
    most_bytes: int | None
    compress: bool
    level: int
    least_bytes: int  # smaller bodies are left alone

    @classmethod
    def of(cls, usecase: UsecaseConfig) -> "UploadRules":
        level = usecase.compression_level
        return cls(
            usecase=usecase.name,
            most_bytes=usecase.limits.max_object_bytes,
            compress=usecase.compression == "Zstd",
            level=DEFAULT_LEVEL if level is None else level,
            least_bytes=usecase.compression_min_bytes,
        )

    def check(self, size: int) -> None:
        """Raises TooLarge."""
        if self.most_bytes is not None and size > self.most_bytes:
            raise TooLarge(
                f"usecase {self.usecase!r} takes objects of up to {self.most_bytes} bytes "
                "(limits.maxObjectBytes)"
            )


class Told(Protocol):
    """What a body tells of itself; one that is streamed, once all of it is read."""

    @property
    def original_size(self) -> int | None: ...

    @property
    def decodable(self) -> bool:
        """Whether readers can be given what it decodes to."""
        ...


NOTHING = Measured(original_size=None)


class Upload:
    """A body as it goes to the store: a Source."""

    def __init__(
        self,
        body: bytes | AsyncIterator[bytes],
        told: Told = NOTHING,
        *,
        encoding: Literal["zstd"] | None = None,
        by_client: bool = False,
    ) -> None:
        self.whole = body if isinstance(body, bytes) else None
        self.told = told
        self.encoding = encoding
        self.by_client = by_client
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, bytes):
            yield self._body
            return
        with refusals():
            async for piece in self._body:
                yield piece
                del piece


async def receive(
    body: Body, metadata: Metadata, rules: UploadRules, workers: Workers, room: Lease
) -> Upload:
    """Look at the beginning of `body` and decide what is stored.

    Holds `room` for it until the caller gives that back. Raises TooLarge, BadRequest, MemoryFull.
    """
    sent_as_zstd = metadata.compression == "zstd"
    tried = not sent_as_zstd and worth_a_try(body.length, metadata.content_type, rules)
    roomy = await granted(body.length, room, CODING if sent_as_zstd or tried else PASSING)
    head, rest = await sampled(body, rules)
    whole = head if rest is None else chained(head, rest)
    if sent_as_zstd:
        ceiling = UNBOUNDED if rules.most_bytes is None else rules.most_bytes
        return await as_sent(whole, ceiling, workers)
    if not (tried and roomy) or (rest is None and small(len(head), rules)):
        return Upload(whole)
    if isinstance(whole, bytes):
        return await compressed_whole(whole, rules.level, workers)
    if pays(head, rules.level):
        compressing = Compressing(whole, rules.level, workers.executor)
        return Upload(compressing, compressing, encoding="zstd")
    room.shrink(PASSING)
    return Upload(whole)


def worth_a_try(size: int | None, content_type: str, rules: UploadRules) -> bool:
    """Whether a body of that size and type may be compressed; its beginning has the last word."""
    return rules.compress and compressible(content_type) and not small(size, rules)


async def granted(size: int | None, room: Lease, wanted: int) -> bool:
    """Whether there is all the room that is `wanted`; at least, there is PASSING.

    Asked before a byte is taken in, so that who waits holds no more than the connection does.
    Raises MemoryFull.
    """
    if size is not None and size <= SAMPLE_SIZE:
        return True
    try:
        await room.hold(wanted)
    except NoRoom as error:
        if not room.try_hold(PASSING):
            raise MemoryFull() from error
    return room.held >= wanted


async def as_sent(body: bytes | AsyncIterator[bytes], ceiling: int, workers: Workers) -> Upload:
    """A body that is zstd already, kept byte for byte once it has shown that it is."""
    if isinstance(body, bytes):
        with refusals():
            measured = await measure_small(body, ceiling, workers)
        return Upload(body, measured, encoding="zstd", by_client=True)
    measuring = Measuring(body, ceiling, workers)
    return Upload(measuring, measuring, encoding="zstd", by_client=True)


async def compressed_whole(body: bytes, level: int, workers: Workers) -> Upload:
    """A small body, compressed if that saves enough."""
    if level <= INLINE_LEVEL:
        squeezed = compress_small(body, level)
    else:
        squeezed = await in_thread(workers.executor, partial(compress_small, body, level))
    if worthwhile(len(body), len(squeezed)):
        return Upload(squeezed, Measured(len(body)), encoding="zstd")
    return Upload(body)


def small(size: int | None, rules: UploadRules) -> bool:
    """Whether a body is too small to compress; one of unknown size is not."""
    return size is not None and size < rules.least_bytes


async def sampled(body: Body, rules: UploadRules) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """More than a sample, or all there is, and the rest. Raises TooLarge, BadRequest."""
    whole = body.take_at_hand(SAMPLE_SIZE)
    if whole is not None:
        rules.check(len(whole))
        return whole, None
    pieces = limited(body, rules)
    head, ended = await beginning(pieces)
    return head, None if ended else pieces


async def limited(body: Body, rules: UploadRules) -> AsyncGenerator[bytes, None]:
    """The body, cut off where it grows too large. Raises TooLarge, BadRequest."""
    size = 0
    async for piece in body:
        size += len(piece)
        rules.check(size)
        yield piece
        del piece
    check_whole(body, size)


def check_whole(body: Body, size: int) -> None:
    """Raises BadRequest where a body has ended, after so many bytes, before its length."""
    if body.length is not None and size != body.length:
        raise BadRequest(f"the body ended after {size} of {body.length} bytes")


async def beginning(pieces: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """The first pieces, more than a sample or all there is; and whether that was all."""
    gathered: list[bytes] = []
    size = 0
    async for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size > SAMPLE_SIZE:
            return b"".join(gathered), False
    return gathered[0] if len(gathered) == 1 else b"".join(gathered), True


async def chained(head: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    del head  # not to be kept for as long as the body lasts; nor are pieces, in what follows
    async for piece in rest:
        yield piece
        del piece


@contextmanager
def refusals() -> Iterator[None]:
    """What the codec says against a body that claims to be zstd, as the caller's mistake."""
    try:
        yield
    except DecodedTooLarge as error:
        raise TooLarge(f"decoded, the body is too large: {error}") from error
    except DecodeError as error:
        raise BadRequest(f"content-encoding is zstd, but {error}") from error
