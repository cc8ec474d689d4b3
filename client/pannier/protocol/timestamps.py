"""Moments as text: RFC 3339 in UTC with microseconds. Inside they are integer microseconds."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from pannier.protocol.malformed import Malformed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def format_timestamp(us: int) -> str:
    """Write microseconds since the epoch, as `2026-11-21T12:00:00.000000Z`."""
    seconds, fraction = divmod(us, 1_000_000)
    return f"{_format_seconds(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=1024)
def _format_seconds(seconds: int) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise Malformed(f"{seconds} seconds lie outside the years 1 to 9999") from error
    return moment.replace(tzinfo=None).isoformat()


def parse_timestamp(text: str) -> int:
    """Read a moment that states its offset; returns microseconds since the epoch."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(f"timestamp {text[:80]!r} is not RFC 3339") from error
    if moment.tzinfo is None:
        raise Malformed(f"timestamp {text[:80]!r} must state its offset, such as 'Z'")
    return (moment - _EPOCH) // _MICROSECOND
