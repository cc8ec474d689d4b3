"""Records as they travel between gateways: what one asks of another is the Store seam itself.

A gateway that sends the header `x-pannier-record` gets stored bytes and whole records, and gives
them: its own readers are not those that the other one's policy is about. What the objectstore
protocol says is left alone by that; nobody else sends the header.
"""

import binascii
from base64 import b64decode, b64encode

import msgspec
from awscrt.checksums import crc64nvme
from msgspec import Struct

from pannier_gateway.stores.base import Draft, Page, Record

HEADER = "x-pannier-record"
VERSION = "1"  # what is asked with, and what a gateway says that can be asked so
ABSENT, EXPIRED = "absent", "expired"  # what it says of an object that is not there

OPENING = "x-pannier-opening"  # bytes before those of an upload that say what is known beforehand
LENGTH = 4  # bytes at the end of a sealed body that tell how long the seal is
LONGEST_SEAL = 64 * 1024


class Seal(Struct, frozen=True):
    """What follows the bytes of an upload: all else, and the CRC64NVME of the bytes."""

    draft: Draft
    checksum: int


class Move(Struct, frozen=True):
    """A new deadline (microseconds) for a version."""

    etag: str
    expires: int


class Unreadable(ValueError):
    """What came is no record, seal or page."""


def written(record: Record) -> str:
    """`record` as the value of a header."""
    return b64encode(msgspec.msgpack.encode(record)).decode()


def read(text: str) -> Record:
    """Raises Unreadable."""
    try:
        return msgspec.msgpack.decode(b64decode(text, validate=True), type=Record)
    except (binascii.Error, ValueError) as error:
        raise Unreadable(f"{HEADER} holds no record: {error}") from error


def written_page(page: Page) -> bytes:
    return msgspec.msgpack.encode(page)


def read_page(data: bytes) -> Page:
    """Raises Unreadable."""
    try:
        return msgspec.msgpack.decode(data, type=Page)
    except ValueError as error:
        raise Unreadable(f"no page of records: {error}") from error


def opening(draft: Draft) -> bytes:
    """What comes before the bytes of an upload: stores that want to be told when it begins have
    it from there. The seal has the last word."""
    return msgspec.msgpack.encode(draft)


def read_opening(data: bytes) -> Draft:
    """Raises Unreadable."""
    try:
        return msgspec.msgpack.decode(data, type=Draft)
    except ValueError as error:
        raise Unreadable(f"the body does not begin as its head says: {error}") from error


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
    try:
        seal = msgspec.msgpack.decode(tail[end:-LENGTH], type=Seal)
    except ValueError as error:
        raise Unreadable(f"the body does not end with a seal: {error}") from error
    if crc64nvme(tail[:end], checksum) != seal.checksum:
        raise Unreadable("the bytes were damaged on their way: they fail their checksum")
    return tail[:end], seal.draft
