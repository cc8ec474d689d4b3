"""What the policy of a usecase, and that of its Bucket, let through to the store."""

from pannier_gateway.conditions import Conditions, check_write
from pannier_gateway.config.model import BucketConfig, UsecaseConfig
from pannier_gateway.errors import ObjectNotFound, PreconditionFailed, ReadOnly, Suspended
from pannier_gateway.stores.base import Store


class Permit:
    """The way to the `store` of one usecase, under one configuration."""

    def __init__(self, usecase: UsecaseConfig, bucket: BucketConfig, store: Store) -> None:
        self._usecase = usecase.name
        self._suspend = usecase.suspend
        self._bucket = bucket.name
        self._read_only = bucket.access == "ReadOnly"
        self.store = store

    def __repr__(self) -> str:
        return f"<Permit of {self._usecase} in {self._bucket}>"

    def to_read(self) -> Store:
        """Raises Suspended."""
        if self._suspend == "All":
            raise Suspended(f"usecase {self._usecase!r} is suspended (spec.suspend: All)")
        return self.store

    def to_write(self) -> Store:
        """Raises Suspended, ReadOnly."""
        if self._suspend != "None":
            raise Suspended(
                f"usecase {self._usecase!r} takes no writes (spec.suspend: {self._suspend})"
            )
        if self._read_only:
            raise ReadOnly(f"bucket {self._bucket!r} is read-only (spec.access: ReadOnly)")
        return self.store


async def check_ahead(store: Store, path: str, conditions: Conditions) -> None:
    """Spare the sender of a body that would be refused; the store checks again, once it has it.

    Raises PreconditionFailed.
    """
    if not conditions.guards_writes:
        return
    try:
        current = (await store.head(path)).validators
    except ObjectNotFound:
        current = None
    if not check_write(conditions, current):
        raise PreconditionFailed()
