"""What is kept beside the bytes, as headers of S3 that other readers understand too.

A custom field is an `x-amz-meta-` header of its own where every engine gives it back as it was:
some rewrite `_` in names, or what is not ASCII in values. The rest, and what is ours alone, is one
JSON text in `x-amz-meta-pannier`, deflated where it would be too long. An object that somebody else
wrote has none, and is read for what it says.
"""

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from pannier.protocol.expiration import Policy
from pannier_gateway.dates import parse_date
from pannier_gateway.errors import BadRequest, Damaged
from pannier_gateway.stores.base import Amount, Attributes, ETag, Moment, Record, is_etag
from pannier_gateway.stores.remote import stated_size

META = "x-amz-meta-"
OURS = "x-amz-meta-pannier"
MOST = 2048  # bytes of names and values, the names without their prefix: the limit of AWS
DEFLATED = "z:"
MEND = "store it again or delete it"
UNTYPED = "application/octet-stream"
MOST_INFLATED = 1 << 20

_NAME = re.compile(r"(?!pannier)[a-z0-9][a-z0-9-]*")
_VALUE = re.compile(r"(?!=\?)[!-~](?:[ -~]*[!-~])?")
_RUNS = re.compile(r"  ")


class Ours(Struct, frozen=True, omit_defaults=True):
    """The JSON text. Times are microseconds since the epoch, sizes bytes."""

    etag: ETag
    created: Moment
    expires: Moment | None = None
    by_client: bool = False
    original_size: Amount | None = None
    decodable: bool = True
    content_type: str | None = None  # where no header could hold it
    policy: Policy = "manual"
    after: Amount | None = None
    origin: str | None = None
    filename: str | None = None
    custom: dict[str, str] = {}


class Stored(Struct, frozen=True):
    """An object as an engine tells of it; `tag` is its own entity tag, with quotes.

    `modified` and `date`, when it said so, are its HTTP dates.
    """

    record: Record
    tag: str
    modified: str
    date: str


def headers_of(record: Record) -> dict[str, str]:
    """The headers that keep a record. Raises BadRequest when they say more than S3 keeps."""
    attributes = record.attributes
    headers = {"content-type": attributes.content_type}
    if not _VALUE.fullmatch(attributes.content_type):
        headers = {"content-type": UNTYPED}
    encoding = attributes.encoding or attributes.foreign_encoding
    if encoding is not None:
        headers["content-encoding"] = encoding
    plain = {name: text for name, text in attributes.custom.items() if survives(name, text)}
    packed = {name: text for name, text in attributes.custom.items() if name not in plain}
    kept = {META + name: text for name, text in plain.items()}
    kept[OURS] = text_of(record, packed)
    if weight(kept) > MOST:
        kept = {OURS: deflated(text_of(record, attributes.custom))}
    if weight(kept) > MOST:
        raise BadRequest(
            f"filename, origin and custom metadata take {weight(kept)} bytes deflated, "
            f"and this bucket's store keeps {MOST} of an object: shorten them"
        )
    return headers | kept


def stored_object(path: str, headers: Mapping[str, str]) -> Stored:
    """The object that the headers of GET or HEAD describe, in part or whole.

    Raises Damaged when they describe none.
    """
    size = size_of(path, headers)
    tag, modified = tag_of(headers), headers.get("last-modified", "")
    ours = read_ours(path, headers) or foreign(tag, modified)
    if not is_etag(ours.etag):
        raise Damaged(f"{path!r} has an etag that is none, {ours.etag[:40]!r}: {MEND}")
    encoding, custom = encoding_of(headers), customs(headers)
    known: Literal["zstd"] | None = "zstd" if encoding == "zstd" else None
    attributes = Attributes(
        content_type=content_type_of(ours, headers),
        encoding=known,
        foreign_encoding=None if known else encoding,
        by_client=ours.by_client and known is not None,
        original_size=ours.original_size,
        decodable=ours.decodable,
        policy=ours.policy,
        after=ours.after,
        origin=ours.origin,
        filename=ours.filename,
        custom=custom | ours.custom,
    )
    record = Record(path, size, ours.etag, ours.created, ours.expires, attributes)
    return Stored(record, tag, modified, headers.get("date", ""))


def foreign(tag: str, modified: str) -> Ours:
    """What is to be said of an object that somebody else wrote."""
    return Ours(etag=tag.strip('"'), created=moment_of(modified), by_client=True)


def tag_of(headers: Mapping[str, str]) -> str:
    """The engine's own. What stands between may call it weak, and no condition holds for that."""
    return headers.get("etag", "").removeprefix("W/")


def content_type_of(ours: Ours, headers: Mapping[str, str]) -> str:
    if ours.content_type is not None:
        return ours.content_type
    return headers.get("content-type", UNTYPED)


def survives(name: str, text: str) -> bool:
    """Whether every engine gives this back in a header of its own as it was."""
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(text) and not _RUNS.search(text))


def text_of(record: Record, custom: dict[str, str]) -> str:
    attributes = record.attributes
    ours = Ours(
        etag=record.etag,
        created=record.created,
        expires=record.expires,
        by_client=attributes.by_client,
        original_size=attributes.original_size,
        decodable=attributes.decodable,
        content_type=None if _VALUE.fullmatch(attributes.content_type) else attributes.content_type,
        policy=attributes.policy,
        after=attributes.after,
        origin=attributes.origin,
        filename=attributes.filename,
        custom=custom,
    )
    return json.dumps(msgspec.to_builtins(ours), separators=(",", ":"))


def deflated(text: str) -> str:
    return DEFLATED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def inflated(text: str) -> bytes:
    if not text.startswith(DEFLATED):
        return text.encode()
    squeezed = base64.b64decode(text.removeprefix(DEFLATED), validate=True)
    return zlib.decompressobj().decompress(squeezed, MOST_INFLATED)


def weight(kept: Mapping[str, str]) -> int:
    return sum(len(name) - len(META) + len(text) for name, text in kept.items())


def read_ours(path: str, headers: Mapping[str, str]) -> Ours | None:
    text = headers.get(OURS)
    if text is None:
        return None
    try:
        return msgspec.json.decode(inflated(text), type=Ours)
    except (ValueError, zlib.error) as error:
        said = f"the metadata of {path!r} ({OURS}) can't be read ({error})"
        raise Damaged(f"{said}: {MEND}") from error


def customs(headers: Mapping[str, str]) -> dict[str, str]:
    cut = len(META)
    return {
        name[cut:]: text for name, text in headers.items() if name.startswith(META) and name != OURS
    }


def size_of(path: str, headers: Mapping[str, str]) -> int:
    """Bytes of the whole object. Raises Damaged."""
    size = stated_size(headers)
    if size is None:
        raise Damaged(f"the store does not tell the size of {path!r}")
    return size


def encoding_of(headers: Mapping[str, str]) -> str | None:
    """Of the bytes; `aws-chunked` is how they were sent, and some engines keep that."""
    given = headers.get("content-encoding")
    if given is None:
        return None
    codings = (each.strip() for each in given.split(","))
    told = [each for each in codings if each.lower() not in ("", "identity", "aws-chunked")]
    return ", ".join(told) or None


def moment_of(date: str) -> int:
    """An HTTP date in microseconds since the epoch; 0 for none."""
    return max(0, parse_date(date) or 0)
