"""Durations as text: read generously, written in one strict form."""

import re
from datetime import timedelta
from decimal import Decimal

from pannier.protocol.malformed import Malformed

LONGEST = timedelta(days=365_250)  # 1000 years: a deadline in it still has a four-digit year

_ONE_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]+)\s*")
_MOST_CHARACTERS = 200
_DAY = 86_400 * 10**9
_UNIT_NAMES = {
    "ns nsec": 1,
    "us usec µs": 10**3,
    "ms msec": 10**6,
    "s sec secs second seconds": 10**9,
    "m min mins minute minutes": 60 * 10**9,
    "h hr hrs hour hours": 3_600 * 10**9,
    "d day days": _DAY,
    "w wk wks week weeks": 7 * _DAY,
    "M month months": 3_044 * _DAY // 100,
    "y yr yrs year years": 36_525 * _DAY // 100,
}
_NANOSECONDS = {name: size for names, size in _UNIT_NAMES.items() for name in names.split()}


def parse_duration(text: str) -> timedelta:
    """Read `30d`, `90 days`, `1h 30m`, `1d2h`, `1.5d` or `0`; units from ns to years, or Malformed.

    A month is 30.44 days and a year 365.25; what is below a microsecond is cut.
    """
    if text.strip() == "0":
        return timedelta(0)
    if len(text) > _MOST_CHARACTERS:
        raise Malformed(f"duration of {len(text)} characters is too long to be one")
    nanoseconds = sum((_part(match, text) for match in _parts(text)), Decimal(0))
    if nanoseconds > Decimal(LONGEST.days) * _DAY:
        raise Malformed(f"duration {text!r} is longer than 1000 years")
    return timedelta(microseconds=int(nanoseconds // 1000))


def format_duration(duration: timedelta) -> str:
    """Write the strict form `400d 1h 18m 31s`; zero is `0s` and parts of a second are cut."""
    if duration < timedelta(0):
        raise Malformed(f"a duration cannot be negative: {duration}")
    minutes, seconds = divmod(duration // timedelta(seconds=1), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return " ".join(f"{count}{unit}" for count, unit in parts if count) or "0s"


def _parts(text: str) -> list[re.Match[str]]:
    matches = list(_ONE_PART.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        raise Malformed(f"duration {text!r} is not a list of numbers with units, such as '1d 2h'")
    return matches


def _part(match: re.Match[str], text: str) -> Decimal:
    number, unit = match.groups()
    if unit not in _NANOSECONDS:
        raise Malformed(f"duration {text!r} has the unknown unit {unit!r}; use w, d, h, m or s")
    return Decimal(number) * _NANOSECONDS[unit]
