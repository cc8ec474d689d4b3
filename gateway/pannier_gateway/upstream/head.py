"""The head of an answer, understood at once. Pure.

One expression finds every field: to be told of them one by one, as by httptools, takes twice as
long, which small answers feel.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from pannier_gateway.upstream.errors import AnswerMalformed

MOST_HEADERS = 256
MOST_DIGITS = 18  # of a length: what fits into 63 bits for sure
NEVER_A_BODY = (204, 304)

# possessive (*+, ++): blanks that end no line would else cost the square of their number
_TEXT = r"[\t -~\x80-\xff]*+"
_STATUS = re.compile(rf"HTTP/1\.([01]) ([1-9][0-9]{{2}})(?: {_TEXT})?\r\n")
_FIELD = re.compile(rf"^([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+({_TEXT})\r\n", re.MULTILINE)


class Head(Struct, frozen=True):
    """Status and headers of an answer, names in lowercase; of a repeated one, values joined.

    `length` is the bytes of body that follow; None: it ends where the server says so.
    """

    status: int
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool


def read_head(text: bytes, *, bodiless: bool) -> Head:
    """What it says, up to the empty line and with it; `bodiless` is for an answer to HEAD.

    Raises AnswerMalformed for what is not a head of HTTP/1.1.
    """
    lines = text.decode("latin-1")
    opening = _STATUS.match(lines)
    if opening is None:
        raise AnswerMalformed(f"no answer in HTTP/1.1: {text[:40]!r}")
    headers = headers_of(lines, opening.end())
    status, modern = int(opening[2]), opening[1] == "1"
    length, chunked = framing(headers)
    if bodiless or status in NEVER_A_BODY:
        length, chunked = 0, False
    stays = modern and "close" not in headers.get("connection", "").lower()
    return Head(status, headers, length, chunked, stays and (chunked or length is not None))


def headers_of(lines: str, start: int) -> dict[str, str]:
    """What the lines from `start` on say. Raises AnswerMalformed."""
    fields: list[tuple[str, str]] = _FIELD.findall(lines, start)
    if len(fields) != lines.count("\n") - 2:  # without the first line, and the empty one
        raise AnswerMalformed(f"a line that is no header, among {len(fields)} that are")
    if len(fields) > MOST_HEADERS:
        raise AnswerMalformed(f"over {MOST_HEADERS} headers")
    headers = {name.lower(): value.rstrip(" \t") for name, value in fields}
    return headers if len(headers) == len(fields) else joined(fields)


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Their values by name, one after the other where a name is repeated."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value.rstrip(" \t"))
    return {name: ", ".join(each) for name, each in values.items()}


def framing(headers: Mapping[str, str]) -> tuple[int | None, bool]:
    """The length of the body as stated, and whether it comes in chunks. Raises AnswerMalformed."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None and coding.lower() != "chunked":
        raise AnswerMalformed(f"transfer-encoding {coding[:40]!r}: only chunked is understood")
    if length is None:
        return None, coding is not None
    if coding is not None:
        raise AnswerMalformed("content-length beside transfer-encoding: one of them is wrong")
    if not (length.isascii() and length.isdecimal()) or len(length) > MOST_DIGITS:
        raise AnswerMalformed(f"content-length {length[:40]!r} is no number")
    return int(length), False
