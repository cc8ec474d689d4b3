"""What S3 says in XML: listings, and why something was refused.

XML from a server that may be anybody's: a document type, which is where entities are declared, ends
the reading, and so does a size that no honest answer has.
"""

from collections.abc import Iterator
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from msgspec import Struct

from pannier_gateway.dates import parse_date

MOST_LISTED = 8 << 20  # bytes of a listing: 1,000 keys of 1,024 bytes, escaped, with their dates
MOST_TOLD = 64 << 10  # bytes of any other answer


class NotXml(ValueError):
    """The text is not XML, or not of the kind that may be read."""


class Refusal(Struct, frozen=True):
    """Why a request was not done; `code` is empty where the answer was no XML of S3."""

    status: int
    code: str
    message: str
    endpoint: str = ""  # where the bucket is, if elsewhere
    wait: float | None = None  # seconds until it is worth asking again, where the store says so


class Listed(Struct, frozen=True):
    """One key of a listing. `tag` is the engine's, `modified` its own text for a date."""

    key: str
    tag: str
    modified: str
    size: int


class ListedPage(Struct, frozen=True):
    """One page of keys in order, and the mark of the next where there is one."""

    keys: tuple[Listed, ...]
    token: str | None


class _Tree(TreeBuilder):
    """Elements without their namespaces; refuses document types."""

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        return super().start(tag.rpartition("}")[2], {})

    def end(self, tag: str, /) -> Element:
        return super().end(tag.rpartition("}")[2])

    def doctype(self, name: str, pubid: str | None, system: str | None, /) -> None:
        raise NotXml("a document type, which no answer of S3 has")


def parsed(text: bytes) -> Element:
    """The root element. Raises NotXml."""
    parser = XMLParser(target=_Tree())
    try:
        parser.feed(text)
        root = parser.close()
    except ParseError as error:
        raise NotXml(str(error)) from error
    assert isinstance(root, Element)
    return root


def refusal(status: int, text: bytes) -> Refusal:
    """Total: whatever the answer was."""
    try:
        root = parsed(text)
    except NotXml:
        return Refusal(status, "", bytes(text[:120]).decode(errors="replace").strip())
    if root.tag != "Error":
        return Refusal(status, "", f"<{root.tag}>")
    return Refusal(status, said(root, "Code"), said(root, "Message"), said(root, "Endpoint"))


def seconds_to_wait(retry_after: str | None, now: float) -> float | None:
    """What the header asks for, in seconds or as a date; None where it says neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    date = parse_date(text)
    return None if date is None else max(0.0, date / 1e6 - now)


def error_inside(text: bytes) -> Refusal | None:
    """The error that an answer of 200 holds: some operations begin to answer before they end."""
    found = refusal(500, text)
    return found if found.code or not text.strip().startswith(b"<") else None


def listed_page(text: bytes, *, encoded: bool) -> ListedPage:
    """A page of ListObjectsV2, asked for with encoding-type=url or not. Raises NotXml."""
    root = parsed(text)
    if root.tag != "ListBucketResult":
        raise NotXml(f"<{root.tag}> where a listing should be")
    encoded = encoded and said(root, "EncodingType") == "url"
    token = said(root, "NextContinuationToken") or None
    more = said(root, "IsTruncated") == "true"
    return ListedPage(tuple(_keys(root, encoded=encoded)), token if more else None)


def upload_id(text: bytes) -> str:
    """Of a multipart upload that was begun. Raises NotXml."""
    found = said(parsed(text), "UploadId")
    if not found:
        raise NotXml("no UploadId")
    return found


def copied_tag(text: bytes) -> str:
    """The entity tag of a part that was copied. Raises NotXml."""
    found = said(parsed(text), "ETag")
    if not found:
        raise NotXml("no ETag")
    return found


def said(element: Element, tag: str) -> str:
    return element.findtext(tag) or ""


def _keys(root: Element, *, encoded: bool) -> Iterator[Listed]:
    for each in root.iterfind("Contents"):
        key = said(each, "Key")
        size = said(each, "Size")
        if not size.isdecimal():
            raise NotXml(f"a Size of {size[:20]!r}")
        name = unquote_plus(key, errors="surrogateescape") if encoded else key
        yield Listed(name, said(each, "ETag"), said(each, "LastModified"), int(size))
