"""What the Buckets of a configuration are kept in: opened, and wrapped in what all stores get."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from pannier_gateway.config.model import BucketConfig, GatewayConfig
from pannier_gateway.errors import PannierError, StoreUnavailable
from pannier_gateway.metrics import Metrics
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.settings import Settings
from pannier_gateway.stores import s3, upstream
from pannier_gateway.stores.absent import AbsentStore
from pannier_gateway.stores.base import Store
from pannier_gateway.stores.buckets import Absence, Buckets
from pannier_gateway.stores.counted import CountedStore
from pannier_gateway.stores.file import FileStore
from pannier_gateway.stores.prefixed import PrefixedStore
from pannier_gateway.stores.provision import Provision
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.secrets import Secrets
from pannier_gateway.stores.tenancy import OpenStores, Tenancy
from pannier_gateway.stores.upstream import UpstreamStore
from pannier_gateway.tls.trust import Trusts

Driver = FileStore | S3Store | UpstreamStore


class Opener(Protocol):
    """Opens what a Bucket is kept in elsewhere."""

    def __call__(
        self, config: BucketConfig, secrets: Secrets, trusts: Trusts, provision: Provision
    ) -> AbstractAsyncContextManager[Driver]: ...


OPENERS: Mapping[str, Opener] = {"S3": s3.opened, "Upstream": upstream.opened}


class Backing:
    """Opens the stores of each configuration; what several name is opened once.

    `lag` tells the event loop's lag in seconds, and `secrets` where the Buckets of a namespace find
    what they name.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        lag: Callable[[], float],
        disk: Executor,
        secrets: Callable[[str], Secrets],
    ) -> None:
        self.open_stores: OpenStores[Driver] = OpenStores()
        self.trusts = Trusts()
        self._settings = settings
        self._metrics = metrics
        self._disk = disk
        self._secrets = secrets
        self._shared = Shared(metrics.resilience, lag, disk, settings.data_dir)
        self._shared.allot(settings.spool_size)
        self._resilience: dict[str, Resilience] = {}  # of buckets that are elsewhere
        metrics.certificates.watch(self.trusts.in_use)

    def __repr__(self) -> str:
        return f"<Backing {self.open_stores}>"

    async def open(self, config: GatewayConfig) -> Buckets[Driver]:
        """Open what `config` names; one that can't be had costs only its own usecases."""
        tenancy = Tenancy(self.open_stores)
        stores: dict[str, Driver] = {}
        absent: dict[str, Absence] = {}
        for key, bucket in config.buckets.items():
            try:
                stores[key] = await self._open_one(tenancy, key, bucket)
            except PannierError as error:
                told = f"bucket {key} can't be opened: {without_paths(str(error), self._settings)}"
                absent[key] = Absence(str(error), f"{told}; it is tried again")
        return Buckets(tenancy, stores, absent)

    def seam(self, buckets: Buckets[Driver], key: str, bucket: BucketConfig) -> Store:
        """The store of a bucket as usecases see it."""
        if key in buckets.absent:
            return AbsentStore(buckets.absent[key].told)
        driver = buckets.stores[key]
        store: Store = CountedStore(driver, partial(self._metrics.store_operations.add, key))
        if key in self._resilience:
            in_parts = isinstance(driver, S3Store)
            store = self._resilience[key].around(store, sends_parts_again=in_parts)
        if bucket.prefix is None or bucket.type == "Upstream":  # whose keys begin with it
            return store
        return PrefixedStore(store, bucket.prefix)

    def forget(self, config: GatewayConfig) -> None:
        """Let go what was learned of buckets that are gone, or that are folders now."""
        for key in list(self._resilience):
            bucket = config.buckets.get(key)
            if bucket is None or bucket.type == "Filesystem":
                del self._resilience[key]
                self._metrics.resilience.forget(key)

    async def _open_one(self, tenancy: Tenancy[Driver], key: str, bucket: BucketConfig) -> Driver:
        if bucket.type != "Filesystem":
            if key not in self._resilience:
                self._resilience[key] = Resilience(key, self._shared)
            provision = self._resilience[key]
            provision.obey(bucket.resilience)
            secrets = self._secrets(bucket.namespace)
            start = partial(OPENERS[bucket.type], bucket, secrets, self.trusts, provision)
            return await tenancy.open(msgspec.json.encode(bucket), start)
        return await self._open_folder(tenancy, bucket)

    async def _open_folder(self, tenancy: Tenancy[Driver], bucket: BucketConfig) -> Driver:
        if self._settings.worker:
            raise StoreUnavailable("a Filesystem Bucket takes one process: leave out --workers")
        folder = folder_of(bucket, self._settings)
        durability = self._settings.durability
        start = partial(FileStore.start, folder, self._disk, durability=durability)
        try:
            return await tenancy.open(folder, start)
        except OSError as error:
            raise StoreUnavailable(
                f"{folder} can't be used: {error.strerror} (see --data-dir and --claims-dir)"
            ) from error


def folder_of(bucket: BucketConfig, settings: Settings) -> Path:
    """Where a Filesystem bucket lives.

    Raises StoreUnavailable for a name that is no folder's, and for a claim that is not mounted: a
    folder made in its place would be gone with the container.
    """
    claim = claim_of(bucket)
    for name in (bucket.namespace, bucket.name, "unclaimed" if claim is None else claim):
        if not name.strip(".") or "/" in name or "\0" in name:
            raise StoreUnavailable(f"bucket {bucket.namespace}/{bucket.name}: {name!r} is no name")
    if claim is None or settings.claims_dir is None:  # as in_data_dir has it
        return settings.data_dir / bucket.namespace / bucket.name
    mounted = settings.claims_dir / claim
    if not mounted.is_dir():
        raise StoreUnavailable(f"claim {claim} is not mounted at {mounted} (see --claims-dir)")
    return mounted / bucket.namespace / bucket.name


def claim_of(bucket: BucketConfig) -> str | None:
    return bucket.filesystem.claim if bucket.filesystem is not None else None


def in_data_dir(bucket: BucketConfig, settings: Settings) -> bool:
    """Whether a Bucket lives there, and not elsewhere or on a claim."""
    unclaimed = claim_of(bucket) is None or settings.claims_dir is None
    return bucket.type == "Filesystem" and unclaimed


def without_paths(text: str, settings: Settings) -> str:
    """`text` as applications may read it, who need not know where the gateway has its files."""
    places = {
        settings.data_dir: "--data-dir",
        settings.claims_dir: "--claims-dir",
        settings.secrets_dir: "--secrets-dir",
    }
    given = [each for each in places if each is not None and len(each.parts) > 1]
    for place in sorted(given, key=lambda each: len(each.parts), reverse=True):
        text = text.replace(str(place), places[place])
    return text
