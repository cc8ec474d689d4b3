"""Records as they travel between gateways: what one asks of another is the Store seam itself.

A gateway that sends the header `x-pannier-record` gets stored bytes and whole records, and gives
them: its own readers are not those that the other one's policy is about. What the objectstore
protocol says is left alone by that; nobody else sends the header.
"""

from base64 import b64decode, b64encode
from typing import TypeVar

import msgspec
from msgspec import Struct

from pannier_gateway.stores.base import Page, Record

HEADER = "x-pannier-record"
VERSION = "1"  # what is asked with, and what a gateway says that can be asked so
ABSENT, EXPIRED = "absent", "expired"  # what it says of an object that is not there


T = TypeVar("T")


class Move(Struct, frozen=True):
    """A new deadline (microseconds) for a version."""

    etag: str
    expires: int


class Unreadable(ValueError):
    """What another gateway sent is not what it should be."""


def decoded(data: bytes, kind: type[T], otherwise: str) -> T:
    """Raises Unreadable, which begins with `otherwise`."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except ValueError as error:
        raise Unreadable(f"{otherwise}: {error}") from error


def written(record: Record) -> str:
    """`record` as the value of a header."""
    return b64encode(msgspec.msgpack.encode(record)).decode()


def read(text: str) -> Record:
    """Raises Unreadable."""
    try:
        return msgspec.msgpack.decode(b64decode(text, validate=True), type=Record)
    except ValueError as error:
        raise Unreadable(f"{HEADER} holds no record: {error}") from error


def written_page(page: Page) -> bytes:
    return msgspec.msgpack.encode(page)


def read_page(data: bytes) -> Page:
    """Raises Unreadable."""
    return decoded(data, Page, "no page of records")
