"""Conditional requests (RFC 9110, section 13): whether to answer, given what the client knows.

Times are compared in whole seconds: an HTTP date holds no more.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from pannier_gateway.dates import parse_date
from pannier_gateway.errors import BadRequest

_SECOND_US = 1_000_000
_ANY = ("*",)
_NEVER = ""  # an If-Range that no representation matches
_TAG = re.compile(r'(W/)?"([^\x00-\x20"\x7f]*)"')
_LISTED = re.compile(rf"[ \t]*(?:{_TAG.pattern}[ \t]*)?(?:,|\Z)")


class Headers(Protocol):
    """Headers by lowercase name; a name may stand on several lines."""

    def get(self, name: str, /) -> str | None: ...
    def getall(self, name: str, /) -> list[str]: ...


class Outcome(Enum):
    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


class Validators(NamedTuple):
    """What tells one state of an object from another: an ETag (without quotes) for each of its
    representations, and when it was last written (microseconds)."""

    etags: tuple[str, ...]
    modified: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one request. Tags carry no quotes, ("*",) is any; times are microseconds.

    Weak tags are gone where only strong ones may match; an `if_range` tag that is empty matches
    nothing.
    """

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None
    if_range: str | int | None = None

    @property
    def guards_writes(self) -> bool:
        """Whether a PUT or DELETE has to look at what is there."""
        stated = (self.if_match, self.if_none_match, self.if_unmodified_since)
        return stated != (None, None, None)


UNCONDITIONAL = Conditions()


def parse_conditions(headers: Headers) -> Conditions:
    """The conditions in a request's headers.

    A date that is none is no condition (RFC 9110). Raises BadRequest for bad tag lists,
    which must not be taken for absent.
    """
    get = headers.get
    match, none_match = get("if-match"), get("if-none-match")
    modified, unmodified = get("if-modified-since"), get("if-unmodified-since")
    within = get("if-range")
    if match is none_match is modified is unmodified is within is None:
        return UNCONDITIONAL
    return Conditions(
        if_match=None if match is None else _tags("if-match", headers, weak=False),
        if_none_match=None if none_match is None else _tags("if-none-match", headers, weak=True),
        if_modified_since=None if modified is None else parse_date(modified),
        if_unmodified_since=None if unmodified is None else parse_date(unmodified),
        if_range=None if within is None else _range_validator(within),
    )


def check_read(conditions: Conditions, current: Validators) -> Outcome:
    """What becomes of a GET or HEAD of an object that exists (RFC 9110, section 13.2.2)."""
    if not _unchanged(conditions, current):
        return Outcome.FAILED
    if conditions.if_none_match is not None:
        known = _matches(conditions.if_none_match, current)
    else:
        since = conditions.if_modified_since
        known = since is not None and _seconds(current.modified) <= _seconds(since)
    return Outcome.NOT_MODIFIED if known else Outcome.PROCEED


def check_write(conditions: Conditions, current: Validators | None) -> bool:
    """Whether a PUT or DELETE may go on, given the object as it is now (None: there is none)."""
    if current is None:
        return conditions.if_match is None
    if not _unchanged(conditions, current):
        return False
    return conditions.if_none_match is None or not _matches(conditions.if_none_match, current)


def range_applies(conditions: Conditions, etag: str) -> bool:
    """Whether `Range` counts for the representation about to be sent; if not, all of it is sent.

    A date never lets it count: two versions may have been written within the same second.
    """
    return conditions.if_range is None or conditions.if_range == etag != _NEVER


def combined(headers: Headers, name: str) -> str:
    """The value of a header that is a list: its lines, in their order (RFC 9110, section 5.3)."""
    return ", ".join(headers.getall(name))


def _tags(name: str, headers: Headers, *, weak: bool) -> tuple[str, ...]:
    header = combined(headers, name)
    if header.strip(" \t") == "*":
        return _ANY
    found, at = [], 0
    while at < len(header):
        if not (match := _LISTED.match(header, at)):
            raise BadRequest(f'{name} {header[:80]!r} is neither * nor a list of "etags"')
        found.append(match)
        at = match.end()
    if not any(match[2] is not None for match in found):
        raise BadRequest(f"{name} names no etag")
    return tuple(m[2] for m in found if m[2] not in (None, "*") and (weak or not m[1]))


def _range_validator(header: str) -> str | int:
    """A tag or a date; what is neither, or weak, must not let a range through."""
    if (match := _TAG.fullmatch(header.strip(" \t"))) and match[2] and not match[1]:
        return match[2]
    date = parse_date(header)
    return _NEVER if date is None else date


def _unchanged(conditions: Conditions, current: Validators) -> bool:
    if conditions.if_match is not None:
        return _matches(conditions.if_match, current)
    limit = conditions.if_unmodified_since
    return limit is None or _seconds(current.modified) <= _seconds(limit)


def _matches(tags: tuple[str, ...], current: Validators) -> bool:
    return tags == _ANY or any(tag in current.etags for tag in tags)


def _seconds(us: int) -> int:
    return us // _SECOND_US
