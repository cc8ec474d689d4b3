"""Answers in the words of the objectstore protocol. Every header name is lowercase on the wire."""

from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from urllib.parse import quote

import msgspec

from pannier.protocol.expiration import Expiration, Policy
from pannier.protocol.metadata import (
    CONTENT_ENCODING,
    CONTENT_TYPE,
    CUSTOM_PREFIX,
    DEFAULT_CONTENT_TYPE,
    ETAG,
    EXPIRATION,
    FILENAME,
    ORIGIN,
    ORIGINAL_SIZE,
    SIZE,
    TIME_CREATED,
    TIME_EXPIRES,
    is_header_name,
)
from pannier.protocol.text import encode_text
from pannier.protocol.timestamps import format_timestamp
from pannier_gateway.dates import http_date
from pannier_gateway.errors import PannierError
from pannier_gateway.ranges import content_range
from pannier_gateway.representation import Answer
from pannier_gateway.stores.base import Attributes, Page, Record

Headers = dict[str, str]


class Listed(msgspec.Struct, omit_defaults=True):
    """One object of a listing. Times are RFC 3339, sizes bytes: as stored, and before encoding."""

    key: str
    size: int
    etag: str
    content_type: str
    time_created: str
    time_expires: str | None = None
    compression: str | None = None
    original_size: int | None = None
    filename: str | None = None
    origin: str | None = None


class ListingBody(msgspec.Struct):
    """The body of a listing; `next` is the `start_after` of the next page."""

    objects: list[Listed]
    prefixes: list[str]
    next: str | None


def object_headers(answer: Answer, *, as_sent: bool) -> Headers:
    """What the head of GET and HEAD says of the object, and of the part of it that follows."""
    record, attributes = answer.record, answer.record.attributes
    headers = {
        CONTENT_TYPE: shown_type(attributes.content_type),
        SIZE: str(shown_size(record, as_sent=as_sent)),
        TIME_CREATED: format_timestamp(record.created),
        ETAG: f'"{answer.etag}"',
        "last-modified": http_date(record.created),
        "accept-ranges": "bytes",
        "content-disposition": disposition(attributes.filename),
    }
    if record.expires is not None:
        headers[TIME_EXPIRES] = format_timestamp(record.expires)
        headers[EXPIRATION] = expiration_text(attributes.policy, attributes.after)
    if attributes.encoding is not None:
        headers |= encoding_headers(answer)
    elif attributes.foreign_encoding is not None and is_shown(attributes.foreign_encoding):
        headers[CONTENT_ENCODING] = attributes.foreign_encoding
    if attributes.origin is not None or attributes.filename is not None or attributes.custom:
        headers |= free_text_headers(attributes)
    if answer.status != 304 and answer.length is not None:
        headers["content-length"] = str(answer.length)
    if answer.span is not None and answer.size is not None:
        headers["content-range"] = content_range(answer.span, answer.size)
    return headers


def shown_size(record: Record, *, as_sent: bool) -> int:
    """The stored size. The stock client is shown the size of what it sent."""
    original = record.attributes.original_size
    if as_sent and original is not None and not record.attributes.by_client:
        return original
    return record.size


def shown_type(content_type: str) -> str:
    """What others keep for one need not fit into a header."""
    return content_type if is_shown(content_type) else DEFAULT_CONTENT_TYPE


def is_shown(text: str) -> bool:
    return text.isascii() and text.isprintable()


def encoding_headers(answer: Answer) -> Headers:
    headers = {"vary": "accept-encoding"}
    if answer.coding == "zstd":
        headers[CONTENT_ENCODING] = "zstd"
    if answer.record.attributes.original_size is not None:
        headers[ORIGINAL_SIZE] = str(answer.record.attributes.original_size)
    return headers


def free_text_headers(attributes: Attributes) -> Headers:
    """Without custom fields whose names no header can have: other gateways may keep such."""
    custom = attributes.custom.items()
    headers = {
        CUSTOM_PREFIX + name: encode_text(text) for name, text in custom if is_header_name(name)
    }
    if attributes.origin is not None:
        headers[ORIGIN] = encode_text(attributes.origin)
    if attributes.filename is not None:
        headers[FILENAME] = encode_text(attributes.filename)
    return headers


def listing_body(page: Page, prefix: str) -> bytes:
    """The JSON of a page; keys lose the `prefix` that their usecase and scopes give them."""
    cut = len(prefix)
    return json_line(
        ListingBody(
            objects=[listed(record, record.path[cut:]) for record in page.records],
            prefixes=[folded[cut:] for folded in page.prefixes],
            next=None if page.next is None else page.next[cut:],
        )
    )


def listed(record: Record, key: str) -> Listed:
    attributes = record.attributes
    return Listed(
        key=key,
        size=record.size,
        etag=record.etag,
        content_type=attributes.content_type,
        time_created=format_timestamp(record.created),
        time_expires=None if record.expires is None else format_timestamp(record.expires),
        compression=attributes.encoding,
        original_size=attributes.original_size,
        filename=attributes.filename,
        origin=attributes.origin,
    )


def failure_body(error: PannierError) -> bytes:
    """`detail` says what is wrong, `causes` what led to it, outermost first."""
    body: dict[str, object] = {"detail": f"{error.kind}: {error}"}
    causes = [str(cause) for cause in chain(error) if str(cause)]
    return json_line(body | {"causes": causes} if causes else body)


def json_line(value: object) -> bytes:
    """For terminals it ends in a newline, which JSON does not mind."""
    return msgspec.json.encode(value) + b"\n"


def chain(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error


@lru_cache(maxsize=1024)
def expiration_text(policy: Policy, after: int | None) -> str:
    return str(Expiration(policy, None if after is None else timedelta(microseconds=after)))


def disposition(filename: str | None) -> str:
    """`content-disposition`: always a download, under a name that is no path."""
    if filename is None:
        return "attachment"
    name = filename.replace("/", "-").replace("\\", "-")
    if not name.strip("."):
        name = "-" * len(name)
    plain = "".join(c if " " <= c <= "~" else "_" for c in name).replace('"', '\\"')
    if name.isascii():
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
