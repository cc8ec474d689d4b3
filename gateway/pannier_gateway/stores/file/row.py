"""One object as the index keeps it, under a seal: SQLite itself would hand out what has rotted."""

import struct
from typing import NamedTuple

import msgspec

from pannier_gateway.errors import Damaged
from pannier_gateway.stores.base import Attributes, Record
from pannier_gateway.stores.file.checksum import whole_checksum

TWO_TO_64 = 1 << 64
SIGN = 1 << 63

encode_attributes = msgspec.json.Encoder().encode
decode_attributes = msgspec.json.Decoder(Attributes).decode
pack_numbers = struct.Struct("<7q").pack

NO_ROW = (AttributeError, TypeError, struct.error)  # a rotten column has a value of any type
Columns = tuple[str, int, int, int, int, int, int | None, bytes]  # all but the seal


class Row(NamedTuple):
    """The checksum is of the body, the seal of the rest; both signed, as SQLite's integers are."""

    path: str
    body: int
    filed: int
    size: int
    checksum: int
    created: int
    expires: int | None
    attributes: bytes
    seal: int

    def expired(self, now: int) -> bool:
        return self.expires is not None and self.expires <= now

    @property
    def sound(self) -> bool:
        """Whether this is what was stored. If not, no column of it can be trusted."""
        try:
            return seal_of(self[:-1]) == self.seal
        except NO_ROW:
            return False

    @property
    def etag(self) -> str:
        return f"{self.body:x}-{self.checksum % TWO_TO_64:016x}"

    @property
    def record(self) -> Record:
        """Raises Damaged."""
        try:
            attributes = decode_attributes(self.attributes)
        except msgspec.DecodeError as error:
            raise damaged(self) from error
        return Record(self.path, self.size, self.etag, self.created, self.expires, attributes)


def sealed(*columns: *Columns) -> Row:
    """The row of these columns, which are right."""
    return Row(*columns, seal_of(columns))


def seal_of(columns: Columns) -> int:
    path, body, filed, size, checksum, created, expires, attributes = columns
    numbers = pack_numbers(body, filed, size, checksum, created, expires is None, expires or 0)
    return signed(whole_checksum(attributes + numbers + path.encode()))


def seal_as_found(*columns: *Columns) -> int:
    """For rows from before there were seals: what is no row gets one that does not hold."""
    try:
        return seal_of(columns)
    except NO_ROW:
        return 0


def checked(row: Row) -> Row:
    """The same row. Raises Damaged unless it is what was stored."""
    if not row.sound:
        raise damaged(row)
    return row


def damaged(row: Row) -> Damaged:
    return Damaged(f"what is kept beside {row.path!r} has rotted: store or delete the object anew")


def signed(checksum: int) -> int:
    return checksum - TWO_TO_64 if checksum >= SIGN else checksum
