"""The body of an upload to another gateway: an opening, the bytes, and a seal with all else.

What is kept beside the bytes may be known only after the last of them, and stores may want it
before the first: it is told twice, and the seal has the last word.
"""

from collections.abc import AsyncGenerator, Callable

import msgspec
from awscrt.checksums import crc64nvme
from msgspec import Struct

from pannier_gateway.stores.base import Buffer, Draft, Source
from pannier_gateway.stores.records import Unreadable, decoded
from pannier_gateway.upstream.request import taken

OPENING = "x-pannier-opening"  # the header that says how many bytes come before those of the upload
LENGTH = 4  # bytes at the end of a sealed body that tell how long the seal is
LONGEST_SEAL = 64 * 1024


class Seal(Struct, frozen=True):
    """What follows the bytes of an upload: all else, and the CRC64NVME of the bytes."""

    draft: Draft
    checksum: int


async def sealing(
    opening: bytes, source: Source, draft: Callable[[], Draft]
) -> AsyncGenerator[Buffer, None]:
    """The body between its opening and its seal."""
    yield opening
    checksum = 0
    async with taken(source) as pieces:
        async for piece in pieces:
            checksum = crc64nvme(piece, checksum)
            yield piece
    yield sealed(draft(), checksum)


def opening(draft: Draft) -> bytes:
    """What comes before the bytes of an upload, as far as it is known."""
    return msgspec.msgpack.encode(draft)


def read_opening(data: bytes) -> Draft:
    """Raises Unreadable."""
    return decoded(data, Draft, "the body does not begin as its head says")


def sealed(draft: Draft, checksum: int) -> bytes:
    """The end of a body whose bytes have that checksum."""
    seal = msgspec.msgpack.encode(Seal(draft, checksum))
    return seal + len(seal).to_bytes(LENGTH, "big")


def unsealed(tail: bytes, checksum: int) -> tuple[bytes, Draft]:
    """The last bytes of an upload, without the seal at their end; and what the seal says.

    `checksum` is that of all bytes before `tail`. Raises Unreadable.
    """
    size = int.from_bytes(tail[-LENGTH:], "big")
    end = len(tail) - LENGTH - size
    if end < 0 or size > LONGEST_SEAL:
        raise Unreadable("the body does not end with a seal")
    seal = decoded(tail[end:-LENGTH], Seal, "the body does not end with a seal")
    if crc64nvme(tail[:end], checksum) != seal.checksum:
        raise Unreadable("the bytes were damaged on their way: they fail their checksum")
    return tail[:end], seal.draft
