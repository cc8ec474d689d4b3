"""How long an engine has to keep an object, told by a tag that lifecycle rules go by.

An engine deletes by itself at any scale, but only so many days after an object was written. So
objects are sorted into a few lifespans, each of which has its rule; when exactly an object ends is
for the gateway to say, and an engine is never to be earlier.
"""

TAG = "pannier-expiry"
HOUR = 3_600_000_000  # microseconds
DAY = 24 * HOUR
LIFESPANS = (
    *(1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 120, 180, 270),
    *(365, 730, 1095, 1825, 3650),
)
"""In days. Each is at most twice the one before, and so is what an object takes up its room for."""

MORE_DAYS = 1  # until a rule deletes: clocks are set, and some engines count days from midnight
SKEW = HOUR  # of that day: another gateway, with a clock of its own, may have set the deadline


def lifespan(lifetime: int) -> int | None:
    """The shortest that holds for `lifetime` (microseconds from now on); None: no rule deletes
    what is to be kept that long."""
    return next((days for days in LIFESPANS if lifetime <= days * DAY + SKEW), None)


def days_kept(days: int) -> int:
    """After how many days the rule of a lifespan deletes."""
    return days + MORE_DAYS


def tag_value(days: int) -> str:
    return f"{days}d"


def tagging(expires: int | None, now: int) -> dict[str, str]:
    """The header that tags an object which is written at `now`, if it ends; in microseconds."""
    days = None if expires is None else lifespan(expires - now)
    return {} if days is None else {"x-amz-tagging": f"{TAG}={tag_value(days)}"}
