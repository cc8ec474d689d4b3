"""A store that can't be had: every operation says why."""

from collections.abc import Callable
from typing import NoReturn

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Draft, Listing, Source


class AbsentStore:
    """Stands where a bucket's store should be, so that the other buckets are served."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __repr__(self) -> str:
        return f"<AbsentStore: {self._reason}>"

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> NoReturn:
        self._refuse()

    async def head(self, path: str) -> NoReturn:
        self._refuse()

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> NoReturn:
        self._refuse()

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> NoReturn:
        self._refuse()

    async def touch(self, path: str, etag: str, expires: int) -> NoReturn:
        self._refuse()

    async def list(self, listing: Listing) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreUnavailable(self._reason)
