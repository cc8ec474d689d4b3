"""Times as they are kept: whole microseconds, since the epoch (UTC) or of a duration."""

from datetime import timedelta

SECOND = 1_000_000
LAST = 253_402_300_800 * SECOND - 1  # of the year 9999: no date tells of what is later

_MICROSECOND = timedelta(microseconds=1)


def microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // _MICROSECOND


def duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else microseconds * _MICROSECOND
