"""Bodies in which nothing moves for much longer than is usual.

The rest may come sooner over another connection, so this one is left, while that is the exception.
"""

import asyncio
from collections.abc import AsyncGenerator

from msgspec import Struct

from pannier_gateway.errors import StoreTimedOut
from pannier_gateway.resilience.allowance import Allowance
from pannier_gateway.resilience.times import Times
from pannier_gateway.stores.base import Buffer

SCARCE = 3.0  # times as patient where little is left to spend

Pieces = AsyncGenerator[Buffer, None]


class StallPolicy(Struct, frozen=True):
    """When a body has stalled: after `times` what 99 of a hundred pieces take, and never before
    `floor`; in doubt longer and longer, up to `doublings` times, and then not at all. Seconds.

    A `share` of downloads at most is left so, with a `burst`.
    """

    enabled: bool = True
    floor: float = 0.03
    unknown: float = 0.5
    times: float = 4.0
    doublings: int = 3
    share: float = 0.05
    burst: int = 10


class Stalled(StoreTimedOut):
    """Nothing has come for too long."""


class Stalls:
    """Knows of one bucket how long a piece of a body takes."""

    def __init__(self, policy: StallPolicy = StallPolicy()) -> None:  # noqa: B008  # frozen
        self.policy = policy
        self.pieces = Times(0.99)
        self._allowance = Allowance(policy.share, policy.burst)

    def __repr__(self) -> str:
        return f"<Stalls after {self.patience(0)} s, {self._allowance}>"

    def begun(self) -> None:
        """There is a download."""
        self._allowance.asked()

    def patience(self, fruitless: int) -> float | None:
        """Seconds, after so many attempts that brought nothing; None: whatever it takes."""
        policy, usual = self.policy, self.pieces.slow
        if not policy.enabled or fruitless > policy.doublings or not self._allowance.left:
            return None
        least = policy.unknown if usual is None else max(policy.floor, policy.times * usual)
        scarce = 1.0 if self._allowance.plenty else SCARCE
        return least * scarce * 2.0**fruitless

    async def next(self, pieces: Pieces, patience: float | None) -> Buffer | None:
        """The next piece; None: that was all. Raises Stalled, and what `pieces` does."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if patience is None:
            piece = await anext(pieces, None)
        else:
            piece = await self._in_time(pieces, patience)
        self.pieces.add(loop.time() - began, began)
        return piece

    async def _in_time(self, pieces: Pieces, patience: float) -> Buffer | None:
        """Looks twice: who was late may have been the loop, and the piece is there by then."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                half = loop.call_later(
                    patience / 2, lambda: limit.reschedule(loop.time() + patience / 2)
                )
                try:
                    return await anext(pieces, None)
                finally:
                    half.cancel()
        except TimeoutError as error:
            self._allowance.take()
            raise Stalled(f"no byte for {patience:.3f} s") from error
