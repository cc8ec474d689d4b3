"""When an object ends: never, a time after it was written, or a time after it was last read."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, Self, cast

from pannier.protocol.durations import format_duration, parse_duration
from pannier.protocol.malformed import Malformed

Policy = Literal["manual", "ttl", "tti"]


@dataclass(frozen=True, slots=True)
class Expiration:
    """An expiration policy; `after` is None for `manual` and only for it."""

    policy: Policy
    after: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.policy == "manual") != (self.after is None):
            raise Malformed("expiration 'manual' takes no duration, 'ttl' and 'tti' need one")
        if self.after is not None and not isinstance(self.after, timedelta):
            raise TypeError(f"after={self.after!r} must be a timedelta, like timedelta(hours=1)")
        if self.after is not None and self.after < timedelta(0):
            raise Malformed(f"expiration after a negative time: {self.after}")

    @classmethod
    def ttl(cls, after: timedelta) -> Self:
        """The object ends this long after it was written."""
        return cls("ttl", after)

    @classmethod
    def tti(cls, after: timedelta) -> Self:
        """The object ends when it has not been read for this long."""
        return cls("tti", after)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `manual`, `ttl:30d` or `tti:1h 30m`, or raise Malformed."""
        if text == "manual":
            return cls("manual")
        policy, colon, duration = text.partition(":")
        if not colon or policy not in ("ttl", "tti"):
            raise Malformed(
                f"expiration {text[:80]!r} must be 'manual', 'ttl:<duration>' or 'tti:<duration>'"
            )
        return cls(cast(Policy, policy), parse_duration(duration))

    def __str__(self) -> str:
        if self.after is None:
            return self.policy
        return f"{self.policy}:{format_duration(self.after)}"


MANUAL = Expiration("manual")
