"""Dates as HTTP writes them (RFC 9110, section 5.6.7): whole seconds, always GMT."""

import re
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache

_SECOND_US = 1_000_000
_LONGEST_WAIT = 1e9  # seconds: what more digits would make of it need not be a number
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTH = r"(?P<month>[A-Z][a-z]{2})"
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        rf"[A-Z][a-z]{{2}}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_CLOCK} GMT",
        rf"[A-Z][a-z]{{5,8}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_CLOCK} GMT",
        rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ \d]\d) {_CLOCK} (?P<year>\d{{4}})",
    )
)


def http_date(us: int) -> str:
    """Microseconds since the epoch as an HTTP date, cut to the second."""
    return _http_date(us // _SECOND_US)


def parse_date(text: str) -> int | None:
    """An HTTP date (any of RFC 9110's three forms) in microseconds; None if it is none."""
    for form in _DATES:
        if match := form.fullmatch(text.strip(" \t")):
            return _moment(match)
    return None


def seconds_to_wait(retry_after: str | None, now: float) -> float | None:
    """What a `retry-after` asks for, in seconds or as a date; None where it says neither. `now`:
    seconds since the epoch."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_WAIT)
    date = parse_date(text)
    return None if date is None else max(0.0, date / _SECOND_US - now)


@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _moment(match: re.Match[str]) -> int | None:
    field = match.groupdict()
    year = int(field["year"])
    if len(field["year"]) == 2:
        year = _century(year, datetime.now(UTC).year)
    clock = int(field["hour"]), int(field["minute"]), int(field["second"])
    try:
        month = _MONTHS.index(field["month"]) + 1
        moment = datetime(year, month, int(field["day"]), *clock, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * _SECOND_US


def _century(two_digits: int, now: int) -> int:
    """The year meant: one more than 50 years ahead is a past one (RFC 9110, section 5.6.7)."""
    year = now - now % 100 + two_digits
    return year - 100 if year > now + 50 else year
