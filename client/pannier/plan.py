"""What to ask and what an answer means: pure, so that any driver can carry it out.

A `plan_…` function turns a call into a `Request`; `read_…` turns the answer's head and body into
a value; `refusal` turns an answer the request does not accept into the error to raise.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import responses
from typing import Literal, TypeVar
from urllib.parse import urlencode

from pannier import errors
from pannier.arguments import AskedRange, check_metadata, check_range, check_texts
from pannier.errors import PannierError, ProtocolError, Subject
from pannier.protocol.malformed import Malformed
from pannier.protocol.metadata import ETAG, Metadata, parse_etag
from pannier.protocol.names import Scopes, check_key
from pannier.protocol.target import object_path
from pannier.protocol.timestamps import parse_timestamp
from pannier.results import ByteRange, ObjectEntry, Page, PutResult

T = TypeVar("T")
AcceptedEncoding = Literal["identity", "zstd"]

_OPAQUE_TAG = re.compile(r"[!#-~]*")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_LONGEST_DETAIL = 500
_BY_STATUS: dict[int, type[PannierError]] = {
    304: errors.NotModified,
    401: errors.Unauthenticated,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    412: errors.PreconditionFailed,
    413: errors.TooLarge,
    416: errors.RangeNotSatisfiable,
    429: errors.Overloaded,
    502: errors.BadGateway,
    503: errors.Overloaded,
    504: errors.BadGateway,
    507: errors.StorageFull,
}


@dataclass(frozen=True, slots=True)
class Place:
    """The collection a session speaks about."""

    usecase: str
    scopes: Scopes


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state the object must be in. ETags come without quotes; `*` stands for any."""

    if_match: str | None = None
    if_none_match: str | None = None

    def headers(self) -> dict[str, str]:
        check_texts(if_match=self.if_match, if_none_match=self.if_none_match)
        stated = {"if-match": self.if_match, "if-none-match": self.if_none_match}
        return {name: _quoted(tag, name) for name, tag in stated.items() if tag is not None}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, complete but for its body.

    `repeatable` says that sending it twice is no different from sending it once, so that it may
    be sent again when nobody knows whether the first one arrived.
    """

    subject: Subject
    method: str
    target: str
    headers: Mapping[str, str]
    accepts: frozenset[int]
    repeatable: bool


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The status and the headers of an answer, as they came."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The last value of a header, by its lowercase name."""
        return next((v for n, v in reversed(self.headers) if n.lower() == name), None)


def plan_put(
    place: Place, key: str | None, metadata: Metadata, conditions: Conditions, size: int | None
) -> Request:
    """Store an object; without a key the server picks one, without a size the body is chunked."""
    check_metadata(metadata)
    framing = {"transfer-encoding": "chunked"} if size is None else {"content-length": str(size)}
    demands = conditions.headers()
    return Request(
        Subject("put", place.usecase, key),
        "POST" if key is None else "PUT",
        object_path(place.usecase, place.scopes, None if key is None else needed_key(key)),
        metadata.to_request_headers() | demands | framing,
        frozenset({200, 201}),
        # a condition that the first sending met, it may itself have made untrue for the second
        repeatable=key is not None and not demands,
    )


def plan_get(
    place: Place,
    key: str,
    asked: AskedRange | None,
    conditions: Conditions,
    encoding: AcceptedEncoding,
) -> Request:
    """Read an object, or the half-open range of it that is asked for."""
    if encoding not in ("identity", "zstd"):
        raise ValueError(f"accept_encoding must be 'identity' or 'zstd', not {encoding!r}")
    headers = {"accept-encoding": encoding} | conditions.headers()
    if asked is not None:
        headers["range"] = _range_header(asked)
    accepted = 200 if asked is None else 206
    return _bare("GET", place, Subject("get", place.usecase, key), headers, accepted)


def plan_head(place: Place, key: str) -> Request:
    """Ask for an object's metadata."""
    subject = Subject("head", place.usecase, key)
    return _bare("HEAD", place, subject, {"accept-encoding": "identity"}, 200)


def plan_delete(place: Place, key: str) -> Request:
    """Delete an object; that there is none is as good."""
    return _bare("DELETE", place, Subject("delete", place.usecase, key), {}, 204)


def plan_page(place: Place, query: Mapping[str, str | int | None]) -> Request:
    """Ask for one page of the collection; what is None in the query is left out."""
    stated = {name: value for name, value in query.items() if value is not None}
    target = object_path(place.usecase, place.scopes, None)
    return Request(
        Subject("list", place.usecase),
        "GET",
        f"{target}?{urlencode(stated)}" if stated else target,
        {},
        frozenset({200}),
        repeatable=True,
    )


def read_put(request: Request, head: ResponseHead, body: bytes, sent: int) -> PutResult:
    """The stored object's key and ETag, and how many bytes it was given."""
    answered = _document(request, body)
    key, asked = answered.get("key"), request.subject.key
    if not isinstance(key, str) or (asked is not None and key != asked):
        raise ProtocolError(f"the server stored it as {key!r}", request.subject, status=head.status)
    return PutResult(key, parse_etag(head.get(ETAG)), sent)


def read_metadata(request: Request, head: ResponseHead) -> Metadata:
    """The metadata in an answer's headers."""
    try:
        return Metadata.from_response_headers(head.headers)
    except Malformed as error:
        raise ProtocolError(f"cannot read the answer: {error}", request.subject) from error


def check_encoding(request: Request, metadata: Metadata) -> Metadata:
    """Refuse zstd where plain bytes were asked for: handed on, they would pass for the object."""
    if metadata.compression is not None and request.headers["accept-encoding"] == "identity":
        raise ProtocolError(
            "the server answered zstd where identity was asked for; ask accept_encoding='zstd' "
            "and decompress",
            request.subject,
        )
    return metadata


def read_range(request: Request, head: ResponseHead, asked: AskedRange) -> ByteRange:
    """The range of a 206, which must be the one that was asked for."""
    stated = head.get("content-range") or ""
    match = _CONTENT_RANGE.fullmatch(stated)
    if match is None:
        raise ProtocolError(f"206 with content-range {stated!r}", request.subject, status=206)
    first, last, total = (int(number) for number in match.groups())
    answered = ByteRange(first, last + 1, total)
    sized_right = head.get("content-length") in (None, str(answered.stop - answered.start))
    if answered != _clamped(asked, total) or not sized_right:
        raise ProtocolError(f"asked for bytes {asked}, answered {stated!r}", request.subject)
    return answered


def read_page(request: Request, body: bytes, start_after: str | None) -> Page:
    """The page behind `start_after`; fields that are not known here are passed over."""
    answered = _document(request, body)
    try:
        page = _page(answered)
    except ValueError as error:
        raise ProtocolError(f"cannot read the page: {error}", request.subject) from error
    if page.next is not None and page.next == start_after:
        raise ProtocolError(f"the pages do not get on behind {start_after!r}", request.subject)
    return page


def refusal(request: Request, head: ResponseHead, body: bytes) -> PannierError:
    """The error that an answer other than the accepted ones stands for."""
    detail = _detail(body)
    return _error_class(request, head.status)(
        f"{head.status}: {detail or responses.get(head.status, 'a status unknown to HTTP')}",
        request.subject,
        status=head.status,
        detail=detail,
        retry_after=_seconds(head.get("retry-after")),
    )


def needed_key(key: object) -> str:
    """The key of a call that can't do without one: no key would mean the whole collection.

    Raises TypeError for what is no text, ValueError for text that is no key.
    """
    if not isinstance(key, str):
        raise TypeError(f"key={key!r} must be text, not {type(key).__name__}")
    return check_key(key)


def _bare(
    method: str, place: Place, subject: Subject, headers: Mapping[str, str], accepted: int
) -> Request:
    return Request(
        subject,
        method,
        object_path(place.usecase, place.scopes, needed_key(subject.key)),
        headers,
        frozenset({accepted}),
        repeatable=True,
    )


def _quoted(tag: str, name: str) -> str:
    if not _OPAQUE_TAG.fullmatch(tag):
        raise ValueError(f"{name.replace('-', '_')}={tag!r} must be an ETag without its quotes")
    return tag if tag == "*" else f'"{tag}"'


def _range_header(asked: AskedRange) -> str:
    start, stop = check_range(asked)
    if start < 0:
        return f"bytes={start}"
    return f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"


def _clamped(asked: AskedRange, total: int) -> ByteRange:
    start, stop = asked
    first = max(total + start, 0) if start < 0 else start
    return ByteRange(first, total if stop is None else min(stop, total), total)


def _document(request: Request, body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ProtocolError(f"the answer is no JSON: {body[:80]!r}", request.subject) from error
    if not isinstance(document, dict):
        raise ProtocolError(f"the answer is no JSON object: {body[:80]!r}", request.subject)
    return document


def _page(document: Mapping[str, object]) -> Page:
    match document:
        case {"objects": list(objects), "prefixes": list(prefixes)}:
            entries = tuple(_entry(item) for item in objects)
            return Page(entries, tuple(map(str, prefixes)), _optional(document, "next", str))
        case _:
            raise ValueError("it has no lists 'objects' and 'prefixes'")


def _entry(item: Mapping[str, object]) -> ObjectEntry:
    match item:
        case {"key": str(key), "size": int(size)}:
            return ObjectEntry(
                key,
                size,
                _optional(item, "etag", str),
                _optional(item, "content_type", str),
                _moment(_optional(item, "time_created", str)),
                _moment(_optional(item, "time_expires", str)),
                _optional(item, "original_size", int),
            )
        case _:
            raise ValueError(f"no object with key and size: {str(item)[:80]}")


def _optional(item: Mapping[str, object], name: str, kind: type[T]) -> T | None:
    value = item.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise ValueError(f"{name!r} is {value!r}")


def _moment(text: str | None) -> int | None:
    return None if text is None else parse_timestamp(text)


def _detail(body: bytes) -> str | None:
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return text[:_LONGEST_DETAIL] or None
    if isinstance(document, dict) and isinstance(document.get("detail"), str):
        return str(document["detail"])
    return text[:_LONGEST_DETAIL]


def _error_class(request: Request, status: int) -> type[PannierError]:
    if status == 412 and request.headers.get("if-none-match") == "*":
        return errors.AlreadyExists
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return errors.RequestRefused
    return errors.ServerError if status >= 500 else ProtocolError


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and re.fullmatch("[0-9]{1,6}", retry_after) else None
