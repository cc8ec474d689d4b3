"""What became of the Buckets of a configuration: the store of each, or why it has none so far."""

import logging
from collections.abc import Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from pannier_gateway.stores.tenancy import Losable, Replaceable, Tenancy

log = logging.getLogger("pannier.store")

S = TypeVar("S", bound=Losable)


class Absence(Struct, frozen=True):
    """Why a Bucket has no store: `reason` for its operators, `told` to applications."""

    reason: str
    told: str


class Buckets(Generic[S]):
    """The Buckets of one configuration, by name: those with a store and those without."""

    def __init__(
        self, tenancy: Tenancy[S], stores: Mapping[str, S], absent: Mapping[str, Absence]
    ) -> None:
        self.tenancy = tenancy
        self.stores = stores
        self.absent = absent

    def __repr__(self) -> str:
        return f"<Buckets {len(self.stores)} open, {len(self.absent)} absent>"

    @property
    def shown(self) -> dict[str, str]:
        """What each is kept in, or why it can't be served."""
        kept = {key: str(store) for key, store in self.stores.items()}
        return kept | {key: absence.reason for key, absence in self.absent.items()}

    @property
    def up(self) -> dict[str, bool]:
        """Whether each has a store, with its files in their place."""
        return {key: not store.lost for key, store in self.stores.items()} | dict.fromkeys(
            self.absent, False
        )

    @property
    def wanting(self) -> bool:
        """Whether there is anything that another try may open."""
        return bool(self.absent) or any(
            isinstance(store, Replaceable) and store.replaced for store in self.stores.values()
        )

    def same_as(self, other: "Buckets[S]") -> bool:
        return self.stores == other.stores and self.absent == other.absent

    def tell(self, before: "Buckets[S]") -> None:
        """Log what is not as it was."""
        for key, absence in self.absent.items():
            if before.absent.get(key) != absence:
                log.error("bucket not served", extra={"bucket": key, "error": absence.reason})
        for key in self.stores.keys() & before.absent.keys():
            log.info("bucket served again", extra={"bucket": key})
