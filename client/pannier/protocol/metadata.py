"""What is said about an object beside its bytes, and the headers that say it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from pannier.protocol.expiration import MANUAL, Expiration
from pannier.protocol.malformed import Malformed
from pannier.protocol.text import decode_text, encode_text
from pannier.protocol.timestamps import parse_timestamp

CONTENT_TYPE = "content-type"
CONTENT_ENCODING = "content-encoding"
EXPIRATION = "x-sn-expiration"
ORIGIN = "x-sn-origin"
FILENAME = "x-sn-filename"
TIME_CREATED = "x-sn-time-created"
TIME_EXPIRES = "x-sn-time-expires"
SIZE = "x-sn-size"
CUSTOM_PREFIX = "x-snme-"
ORIGINAL_SIZE = "x-pannier-original-size"
ETAG = "etag"

MOST_CUSTOM = 64
MOST_CUSTOM_BYTES = 16 * 1024  # names and values, as text of UTF-8
DEFAULT_CONTENT_TYPE = "application/octet-stream"

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_HEADER_NAME = re.compile(_TOKEN)
_PARAMETER = rf"[ \t]*{_TOKEN}=(?:{_TOKEN}|{_QUOTED})"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;(?:{_PARAMETER})?)*")
_STRONG_ETAG = re.compile(r'"([!#-~\x80-\xff]*)"')
_WHOLE_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a writer states and, below the line, what only the server knows.

    `expiration` is None where a request states none: the usecase decides then. Custom names are
    lowercase. Times are microseconds since the epoch, sizes are bytes; an ETag has no quotes and
    is a strong one.
    """

    content_type: str = DEFAULT_CONTENT_TYPE
    compression: Literal["zstd"] | None = None
    expiration: Expiration | None = None
    origin: str | None = None
    filename: str | None = None
    custom: dict[str, str] = field(default_factory=dict)

    time_created: int | None = None
    time_expires: int | None = None
    size: int | None = None  # as stored, so after compression
    original_size: int | None = None
    etag: str | None = None

    @classmethod
    def from_request_headers(cls, pairs: Iterable[tuple[str, str]]) -> Self:
        """Read what a writer states; server-owned fields are not looked at."""
        fields = _fold(pairs)
        stated = fields.get(EXPIRATION)
        return cls(
            content_type=_content_type(fields),
            compression=_compression(fields),
            expiration=None if stated is None else Expiration.parse(stated),
            origin=_text(fields, ORIGIN),
            filename=_text(fields, FILENAME),
            custom=_custom(fields),
        )

    @classmethod
    def from_response_headers(cls, pairs: Iterable[tuple[str, str]]) -> Self:
        """Read what a server answered; a policy it does not state is `manual`."""
        fields = _fold(pairs)
        return cls(
            content_type=_content_type(fields),
            compression=_compression(fields),
            expiration=Expiration.parse(fields[EXPIRATION]) if EXPIRATION in fields else MANUAL,
            origin=_text(fields, ORIGIN),
            filename=_text(fields, FILENAME),
            custom=_custom(fields),
            time_created=_moment(fields, TIME_CREATED),
            time_expires=_moment(fields, TIME_EXPIRES),
            size=_number(fields, SIZE),
            original_size=_number(fields, ORIGINAL_SIZE),
            etag=parse_etag(fields.get(ETAG)),
        )

    def to_request_headers(self) -> dict[str, str]:
        """The headers of a write, with lowercase names. Raises Malformed for what none can say."""
        headers = {CONTENT_TYPE: check_content_type(self.content_type)}
        if self.compression is not None:
            headers[CONTENT_ENCODING] = self.compression
        if self.expiration is not None:
            headers[EXPIRATION] = str(self.expiration)
        if self.origin is not None:
            headers[ORIGIN] = encode_text(self.origin)
        if self.filename is not None:
            headers[FILENAME] = encode_text(self.filename)
        return headers | _custom_headers(self.custom)


def check_content_type(content_type: str) -> str:
    """Return the media type as it came, or raise Malformed."""
    if not _MEDIA_TYPE.fullmatch(content_type):
        raise Malformed(f"content-type {content_type[:80]!r} is not a media type like 'text/plain'")
    return content_type


def is_header_name(name: str) -> bool:
    """Whether custom metadata of that name can be told."""
    return bool(_HEADER_NAME.fullmatch(name))


def parse_etag(value: str | None) -> str | None:
    """The opaque text of a strong ETag; None for a weak one, which proves nothing about bytes."""
    strong = _STRONG_ETAG.fullmatch(value) if value is not None else None
    return strong[1] if strong else None


def _fold(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lowercase names; of a repeated header the last value counts, but encodings add up."""
    lines = [(name.lower(), value) for name, value in pairs]
    fields = dict(lines)
    if len(fields) < len(lines) and CONTENT_ENCODING in fields:
        fields[CONTENT_ENCODING] = ", ".join(v for name, v in lines if name == CONTENT_ENCODING)
    return fields


def _content_type(fields: dict[str, str]) -> str:
    return check_content_type(fields.get(CONTENT_TYPE, DEFAULT_CONTENT_TYPE))


def _compression(fields: dict[str, str]) -> Literal["zstd"] | None:
    encoding = fields.get(CONTENT_ENCODING)
    if encoding is None:
        return None
    if encoding.lower() != "zstd":
        raise Malformed(f"content-encoding {encoding[:80]!r} is not supported, only 'zstd' is")
    return "zstd"


def _text(fields: dict[str, str], name: str) -> str | None:
    return decode_text(fields[name]) if name in fields else None


def _custom(fields: dict[str, str]) -> dict[str, str]:
    start = len(CUSTOM_PREFIX)
    found = {n[start:]: decode_text(v) for n, v in fields.items() if n.startswith(CUSTOM_PREFIX)}
    if "" in found:
        raise Malformed(f"custom metadata needs a name after {CUSTOM_PREFIX!r}")
    return _checked_count(found)


def _checked_count(custom: dict[str, str]) -> dict[str, str]:
    """Return what may be stored as it came: readers give up on 100 headers, or on long ones."""
    if not custom:
        return custom
    if len(custom) > MOST_CUSTOM:
        raise Malformed(f"{len(custom)} custom metadata fields, at most {MOST_CUSTOM} are allowed")
    size = sum(len(name) + len(text.encode(errors="replace")) for name, text in custom.items())
    if size > MOST_CUSTOM_BYTES:
        raise Malformed(f"{size} bytes of custom metadata, at most {MOST_CUSTOM_BYTES} are allowed")
    return custom


def _custom_headers(custom: dict[str, str]) -> dict[str, str]:
    headers = {}
    for name, value in _checked_count(custom).items():
        header = CUSTOM_PREFIX + name.lower()
        if not is_header_name(name):
            raise Malformed(f"custom metadata name {name[:80]!r} is not a valid header name")
        if header in headers:
            raise Malformed(f"custom metadata name {name!r} is given twice, apart from case")
        headers[header] = encode_text(value)
    return headers


def _moment(fields: dict[str, str], name: str) -> int | None:
    return parse_timestamp(fields[name]) if name in fields else None


def _number(fields: dict[str, str], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not _WHOLE_NUMBER.fullmatch(value):
        raise Malformed(f"{name} {value[:80]!r} is not a number of bytes")
    return int(value)
