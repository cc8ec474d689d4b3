"""Who clears away what has expired, apart from any request: readers never see it anyway."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from pannier_gateway.errors import PannierError
from pannier_gateway.stores.base import Sweepable

log = logging.getLogger("pannier.sweeper")

BATCH = 500  # objects deleted at once


class Sweeper:
    """Deletes what has expired, in bounded batches."""

    def __init__(
        self,
        stores: Callable[[], Iterable[Sweepable]],
        interval: float,
        swept: Callable[[int], None],
    ) -> None:
        self._stores = stores
        self._interval = interval
        self._swept = swept

    async def run(self) -> None:
        """Sweep every `interval` seconds until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            for store in self._stores():
                await self.sweep(store)

    async def sweep(self, store: Sweepable) -> None:
        """Delete all that has expired by now; a store that fails is tried again next time."""
        try:
            while swept := await store.sweep(BATCH):
                self._swept(swept)
        except PannierError as error:
            log.warning("sweep failed", extra={"store": repr(store), "error": str(error)})
