"""What S3 says in XML: listings, and why something was refused.

XML from a server that may be anybody's: a document type, which is where entities are declared, ends
the reading, and so does a size that no honest answer has.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from msgspec import Struct

LARGEST_LISTING = 8 << 20  # bytes: 1,000 keys of 1,024 bytes, escaped, with their dates
MOST_ELEMENTS = 100_000  # 1,000 keys take 10,000
DEEPEST = 50  # elements within each other: who walks them does so by recursion
MOST_DIGITS = 19  # of a size


_UNHELD = re.compile(  # references to characters that XML has not
    rb"&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|6553[45]));",
    re.IGNORECASE,
)


class NotXml(ValueError):
    """The text is not XML, or not of the kind that may be read."""


class Refusal(Struct, frozen=True):
    """Why a request was not done; `code` is empty where the answer was no XML of S3."""

    status: int
    code: str
    message: str
    wait: float | None = None  # seconds until it is worth asking again, where the store says so


class Listed(Struct, frozen=True):
    """One key of a listing. `tag` is the engine's, `modified` its own text for a date."""

    key: str
    tag: str
    modified: str
    size: int


class ListedPage(Struct, frozen=True):
    """One page of keys in order. `token` is the mark of the next one; None where there is none, or
    XML could not hold it, and the last key has to do."""

    keys: tuple[Listed, ...]
    token: str | None
    more: bool


class _Tree(TreeBuilder):
    """Elements without their namespaces; refuses document types, what is nested too deep, and what
    takes too much memory. `super()` would take half as much time again."""

    depth = count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST:
            raise NotXml(f"more than {DEEPEST} elements within each other")
        if self.count > MOST_ELEMENTS:
            raise NotXml(f"more than {MOST_ELEMENTS} elements")
        return TreeBuilder.start(self, tag.rpartition("}")[2], {})

    def end(self, tag: str, /) -> Element:
        self.depth -= 1
        return TreeBuilder.end(self, tag)

    def doctype(self, name: str, pubid: str | None, system: str | None, /) -> None:
        raise NotXml("a document type, which no answer of S3 has")


def parsed(text: bytes) -> Element:
    """The root element. Raises NotXml."""
    parser = XMLParser(target=_Tree())
    try:
        parser.feed(text)
        root = parser.close()
    except NotXml:
        raise
    except (ParseError, LookupError, ValueError) as error:  # the last two: of its encoding
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
    return Refusal(status, said(root, "Code"), said(root, "Message"))


def error_inside(text: bytes) -> Refusal | None:
    """The error that an answer of 200 holds: some operations begin to answer before they end, with
    white space meanwhile. Raises NotXml for what is neither that nor a result."""
    root = parsed(text.strip())
    if root.tag == "Error":
        return Refusal(500, said(root, "Code"), said(root, "Message"))
    if not root.tag.endswith("Result"):
        raise NotXml(f"<{root.tag}> where a result should be")
    return None


def listed_page(text: bytes, *, encoded: bool) -> ListedPage:
    """A page of ListObjectsV2, asked for with encoding-type=url or not. Raises NotXml.

    Some engines encode keys alone: they repeat a prefix, and tell a token, as XML can't hold it.
    """
    kept = _UNHELD.sub(b"", text) if encoded else text
    lossy = len(kept) < len(text)
    root = parsed(kept)
    if root.tag != "ListBucketResult":
        raise NotXml(f"<{root.tag}> where a listing should be")
    encoded = encoded and said(root, "EncodingType") == "url"
    keys, more = tuple(_keys(root, encoded=encoded)), said(root, "IsTruncated") == "true"
    token = said(root, "NextContinuationToken") if more and not lossy else ""
    if (lossy and not encoded) or (more and not token and not keys):
        raise NotXml("a listing that can't be read, or gone on with")
    return ListedPage(keys, token or None, more)


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


def tags(text: bytes) -> dict[str, str]:
    """Of an object. Raises NotXml."""
    root = parsed(text)
    if root.tag != "Tagging":
        raise NotXml(f"<{root.tag}> where tags should be")
    return {said(each, "Key"): said(each, "Value") for each in root.iter("Tag")}


def said(element: Element, tag: str) -> str:
    return element.findtext(tag) or ""


def _keys(root: Element, *, encoded: bool) -> Iterator[Listed]:
    for each in root.iterfind("Contents"):
        key = said(each, "Key")
        size = said(each, "Size")
        if not size.isdecimal() or len(size) > MOST_DIGITS:
            raise NotXml(f"a Size of {size[:20]!r}")
        name = unquote_plus(key, errors="surrogateescape") if encoded else key
        yield Listed(name, said(each, "ETag"), said(each, "LastModified"), int(size))
