"""One object as the index keeps it, under a seal: SQLite itself would hand out what has rotted."""

import struct
from typing import NamedTuple

import msgspec

from pannier_gateway.errors import Damaged
from pannier_gateway.stores.base import Attributes, Draft, Record
from pannier_gateway.stores.file.checksum import whole_checksum

TWO_TO_64 = 1 << 64
SIGN = 1 << 63

encode_attributes = msgspec.json.Encoder().encode
decode_attributes = msgspec.json.Decoder(Attributes).decode
pack_numbers = struct.Struct("<7q").pack

# A rotten column has a value of any type, and a rotten text need be none.
NO_ROW = (AttributeError, TypeError, UnicodeError, struct.error)
Others = tuple[int, int, int, int, int, int | None, bytes]  # all but the path and the seal
Columns = tuple[str, *Others]


class Kept(NamedTuple):
    """A body by its number, whether a file or the index has it, and its CRC64NVME."""

    body: int
    filed: bool
    size: int
    checksum: int


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

    def until(self, expires: int) -> "Row":
        """The same with another deadline."""
        return sealed(*self._replace(expires=expires)[:-1])

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


def row_of(path: str, kept: Kept, draft: Draft) -> Row:
    """The row of an object that is stored."""
    body = kept._replace(checksum=signed(kept.checksum))
    return sealed(path, *body, draft.created, draft.expires, encode_attributes(draft.attributes))


def sealed(*columns: *Columns) -> Row:
    """The row of these columns, which are right."""
    return Row(*columns, seal_of(columns))


def seal_of(columns: Columns) -> int:
    path, body, filed, size, checksum, created, expires, attributes = columns
    numbers = pack_numbers(body, filed, size, checksum, created, expires is None, expires or 0)
    return signed(whole_checksum(attributes + numbers + path.encode()))


def seal_as_found(path: bytes, *others: *Others) -> int:
    """For rows from before there were seals: what is no row gets one that does not hold."""
    try:
        return seal_of((path.decode(), *others))
    except NO_ROW:
        return 0


def checked(row: Row) -> Row:
    """The same row. Raises Damaged unless it is what was stored."""
    if not row.sound:
        raise damaged(row)
    return row


def damaged(row: Row) -> Damaged:
    try:
        row.path.encode()
    except NO_ROW:
        return Damaged(
            "a key has rotted into one that no request can name: with the gateway stopped, delete "
            f"the row with hex(path) = '{raw(row.path).hex().upper()}' from `objects` in index.db"
        )
    return Damaged(f"what is kept beside {row.path!r} has rotted: store or delete the object anew")


def as_found(text: bytes) -> str:
    """Any text of the index, also what is none any more."""
    return text.decode("utf-8", "surrogateescape")


def raw(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else path.encode(errors="surrogateescape")


def signed(checksum: int) -> int:
    return checksum - TWO_TO_64 if checksum >= SIGN else checksum
