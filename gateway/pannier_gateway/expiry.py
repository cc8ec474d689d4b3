"""How long objects live: what a usecase allows, and when a read extends it."""

import asyncio
import logging
from datetime import timedelta

from pannier.protocol.durations import format_duration
from pannier.protocol.expiration import Expiration, Policy
from pannier_gateway.clock import Clock
from pannier_gateway.config import model
from pannier_gateway.config.model import Expiry, UsecaseConfig
from pannier_gateway.errors import BadRequest, ExpirationRefused, PannierError
from pannier_gateway.moments import LAST, SECOND, duration
from pannier_gateway.stores.base import Attributes, Draft, Record, Store

log = logging.getLogger("pannier.expiry")

LONGEST_DEBOUNCE = 24 * 3600 * SECOND
SKEW = 300 * SECOND  # that the clocks of two gateways may differ
WIRE_POLICY: dict[model.Policy, Policy] = {
    "Manual": "manual",
    "TimeToLive": "ttl",
    "TimeToIdle": "tti",
}


class Lifetimes:
    """What one usecase says on how long its objects live."""

    def __init__(self, usecase: UsecaseConfig) -> None:
        self._usecase = usecase.name
        self._default = as_expiration(usecase.expiration)
        allowed = usecase.allowed_expirations
        self._longest = (
            None
            if allowed is None
            else {WIRE_POLICY[each.policy]: each.max_after for each in allowed}
        )

    def __repr__(self) -> str:
        return f"<Lifetimes of {self._usecase}: {self._default}>"

    def choose(self, asked: Expiration | None) -> Expiration:
        """What was asked for, else the default. Raises ExpirationRefused naming the bound."""
        if asked is None:
            return self._default
        if self._longest is not None:
            self._check(asked, self._longest)
        return asked

    def check_deadline(self, attributes: Attributes, expires: int | None, now: int) -> None:
        """Look at a deadline that another gateway has set. Raises ExpirationRefused."""
        if self._longest is None:
            return
        after = attributes.after
        self._check(
            Expiration(attributes.policy, duration(after)),
            self._longest,
        )
        latest = None if after is None else now + after + SKEW
        if latest is not None and (expires is None or expires > latest):
            raise ExpirationRefused(
                f"usecase {self._usecase!r}: the deadline is later than its expiration allows: "
                "check the clocks of both gateways"
            )

    def _check(self, asked: Expiration, longest: dict[Policy, int | None]) -> None:
        if asked.policy not in longest:
            raise ExpirationRefused(
                f"usecase {self._usecase!r} does not allow the expiration {asked.policy!r}: "
                f"allowed are {', '.join(longest)} (allowedExpirations)"
            )
        bound = longest[asked.policy]
        if bound is not None and asked.after is not None and asked.after > timedelta(seconds=bound):
            raise ExpirationRefused(
                f"usecase {self._usecase!r} allows {asked.policy} up to "
                f"{format_duration(timedelta(seconds=bound))} (maxAfter), asked for {asked}"
            )


def as_expiration(expiry: Expiry) -> Expiration:
    after = None if expiry.after is None else timedelta(seconds=expiry.after)
    return Expiration(WIRE_POLICY[expiry.policy], after)


def deadline(written: int, after: int | None) -> int | None:
    """When an object written at `written` ends; None: never. All in microseconds."""
    return None if after is None else written + after


def extended(record: Record, now: int) -> int | None:
    """The new deadline that a read at `now` earns, or None when it changes nothing.

    Reading often does not write often: a deadline moves only once it lags by a quarter of the idle
    time or by a day, whichever is less.
    """
    idle = record.attributes.after
    if record.attributes.policy != "tti" or idle is None or record.expires is None:
        return None
    debounce = min(idle // 4, LONGEST_DEBOUNCE)
    return now + idle if record.expires < now + idle - debounce else None


def check_times(draft: Draft, now: int) -> None:
    """Look at the times another gateway tells: some could not be told on. Raises BadRequest."""
    if not 0 <= draft.created <= now + SKEW:
        raise BadRequest(
            f"created {draft.created / SECOND:.0f} s after 1970: check the clocks of both gateways"
        )
    if draft.expires is not None and not 0 <= draft.expires <= LAST:
        raise BadRequest(f"a deadline {draft.expires / SECOND:.0f} s after 1970 is none")


class Extender:
    """Moves the deadlines that reads extend, behind the readers' backs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._moving: dict[str, asyncio.Task[None]] = {}  # by path: one move at a time is enough

    def __repr__(self) -> str:
        return f"<Extender {len(self._moving)} moving>"

    def extend(self, record: Record) -> None:
        """Begin to move the deadline of an object that is read now, if that is due."""
        expires = extended(record, self._clock())
        if expires is not None and record.path not in self._moving:
            self._moving[record.path] = asyncio.create_task(self._move(record, expires))

    async def _move(self, record: Record, expires: int) -> None:
        try:
            await self._store.touch(record.path, record.etag, expires)
        except PannierError as error:  # the next read tries again
            log.warning("deadline not moved", extra={"path": record.path, "error": str(error)})
        finally:
            del self._moving[record.path]
