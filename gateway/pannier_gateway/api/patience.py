"""How long a client may keep the gateway waiting for its next bytes, or for taking ours."""

import asyncio
from types import TracebackType

PROGRESS_SECONDS = 60.0  # a client that does not get on for this long is given up


class Patience:
    """A `with` block around one wait: raises TimeoutError when it has taken PROGRESS_SECONDS.

    They are counted in two halves, each while the loop turns. A process that was stopped finds the
    first one over, whatever its length, and then has half the time to see that the bytes are there.
    """

    __slots__ = ("_half", "_limit")

    async def __aenter__(self) -> None:
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        loop = asyncio.get_running_loop()
        self._half = loop.call_later(PROGRESS_SECONDS / 2, self._wait_on)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._half.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _wait_on(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time() + PROGRESS_SECONDS / 2)
