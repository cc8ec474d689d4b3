"""The composition root: settings become a running gateway, and everything is wired here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from random import random

import msgspec
from prometheus_client import CollectorRegistry

from pannier_gateway.admission import Admission
from pannier_gateway.allocator import trim_after_bursts
from pannier_gateway.api.objectstore import Door, anybody
from pannier_gateway.catalog import Catalog
from pannier_gateway.clock import system_clock
from pannier_gateway.codec import MemoryBudget
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.model import BucketConfig, GatewayConfig
from pannier_gateway.config.source import ConfigFile, ManifestSource, Refused
from pannier_gateway.config.watch import ConfigWatch
from pannier_gateway.drain import Drain
from pannier_gateway.errors import PannierError, StoreUnavailable
from pannier_gateway.expiry import Sweeper
from pannier_gateway.lag import LoopLag
from pannier_gateway.metrics import Metrics
from pannier_gateway.objects import Objects, Parts
from pannier_gateway.resilience.stack import Resilience, Shared
from pannier_gateway.settings import Settings
from pannier_gateway.stores import s3, upstream
from pannier_gateway.stores.absent import AbsentStore
from pannier_gateway.stores.base import Store
from pannier_gateway.stores.buckets import Absence, Buckets, pause
from pannier_gateway.stores.counted import CountedStore
from pannier_gateway.stores.file import FileStore
from pannier_gateway.stores.prefixed import PrefixedStore
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.secrets import (
    EitherSecrets,
    ManifestSecrets,
    MountedSecrets,
    Secrets,
)
from pannier_gateway.stores.tenancy import OpenStores, Tenancy
from pannier_gateway.stores.upstream import UpstreamStore
from pannier_gateway.tls.hub import Hub
from pannier_gateway.tls.trust import Trusts, TrustState

log = logging.getLogger("pannier.app")

Driver = FileStore | S3Store | UpstreamStore
Opened = Callable[..., AbstractAsyncContextManager[Driver]]
OPENED: Mapping[str, Opened] = {"S3": s3.opened, "Upstream": upstream.opened}

DISK_THREADS = 4
CODEC_THREADS = 4  # apart from the disk's: compressing at a high level takes seconds


class Gateway:
    """One gateway: its configuration, its stores, and the usecases served from them.

    Build it with `Gateway.run`.
    """

    def __init__(self, settings: Settings) -> None:
        self.drain = Drain()
        self.metrics = Metrics(self.drain)
        self.hub = hub_of(settings)
        self.door = Door(
            lambda: self._catalog or Catalog(waiting=self.waiting),
            self.drain,
            self.metrics,
            anybody if self.hub is None else self.hub.admit,
        )
        self.serving = asyncio.Event()
        self.started = False
        self._settings = settings
        self._lag = LoopLag(self.metrics.loop_lag.observe)
        self._source = source_of(settings)
        self._watch = ConfigWatch(self._source, self.metrics.config)
        self._changes: asyncio.Queue[GatewayConfig] = asyncio.Queue()
        self._watch.subscribe(self._changes.put_nowait)
        self._disk = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="pannier-disk")
        self._codec = ThreadPoolExecutor(CODEC_THREADS, thread_name_prefix="pannier-codec")
        self._parts = Parts(system_clock, Workers(self._codec, MemoryBudget()), self.metrics)
        self.trusts = Trusts()
        self.metrics.certificates.watch(self.trusts.in_use)
        self._shared = Shared(
            self.metrics.resilience, lambda: self._lag.seconds, self._disk, settings.data_dir
        )
        self._resilience: dict[str, Resilience] = {}  # of buckets that are elsewhere
        self._open_stores: OpenStores[Driver] = OpenStores()
        self._buckets: Buckets[Driver] = Buckets(Tenancy(self._open_stores), {}, {})
        self.metrics.buckets.watch(lambda: self._buckets.up)
        self.metrics.promises.watch(self._promises)
        self._admission = Admission(self.metrics.limits.count)
        self._catalog: Catalog | None = None  # until there is a configuration

    def __repr__(self) -> str:
        return f"<Gateway {self._catalog}, {self._buckets}>"

    @classmethod
    @asynccontextmanager
    async def run(cls, settings: Settings) -> AsyncIterator["Gateway"]:
        """A gateway that follows its configuration until the block ends.

        Raises ConfigError, and StoreUnavailable where nothing could be served because of the data
        directory.
        """
        gateway = cls(settings)
        with gateway._disk, gateway._codec:
            async with gateway._open_stores:
                buckets = await gateway._open(gateway.config)
                gateway._demand_data_dir(buckets)
                if gateway.digest:
                    gateway._take_up(gateway.config, buckets)
                async with in_background(*gateway._chores()):
                    yield gateway

    @property
    def config(self) -> GatewayConfig:
        return self._watch.current

    @property
    def digest(self) -> str:
        return self._watch.digest

    @property
    def refused(self) -> tuple[Refused, ...]:
        return self._watch.refused

    @property
    def problem(self) -> str | None:
        return self._watch.problem

    @property
    def waiting(self) -> str | None:
        """Why nothing is served yet."""
        return None if self.serving.is_set() else self.problem or "opening the stores"

    @property
    def registry(self) -> CollectorRegistry:
        return self.metrics.registry

    @property
    def lag(self) -> float:
        return self._lag.seconds

    @property
    def draining(self) -> bool:
        return self.drain.begun

    @property
    def stores(self) -> dict[str, str]:
        """What each bucket is kept in, or why it can't be served."""
        return self._buckets.shown

    @property
    def certificates(self) -> dict[str, TrustState]:
        """The certificates in force, by what they are for."""
        return {user: trust.state for user, trust in self.trusts.in_use.items()}

    def _chores(self) -> Iterable[Coroutine[None, None, None]]:
        sweeper = Sweeper(
            lambda: [s for s in self._buckets.stores.values() if isinstance(s, FileStore)],
            self._settings.sweep_interval,
            self.metrics.swept.inc,
        )
        closing = self._open_stores.run()
        trimming = trim_after_bursts(self._parts.workers.budget, self._codec)
        return self._watch.run(), self._follow(), self._lag.run(), sweeper.run(), closing, trimming

    async def _follow(self) -> None:
        """Take up each new configuration, and try again to open what could not be had."""
        tries = 0
        while True:
            config = await self._next_config(pause(tries, random()))
            if config is not None:
                self._take_up(config, await self._open(config))
                tries = 0
            elif self._buckets.wanting:
                tries = 0 if await self._try_again() else tries + 1

    async def _next_config(self, seconds: float) -> GatewayConfig | None:
        """The next one, unless none comes in this time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._changes.get()
        except TimeoutError:
            return None

    async def _try_again(self) -> bool:
        """Whether anything is other than before."""
        buckets = await self._open(self.config)
        if buckets.same_as(self._buckets):
            buckets.tenancy.end()
            return False
        self._take_up(self.config, buckets)
        return True

    def _take_up(self, config: GatewayConfig, buckets: Buckets[Driver]) -> None:
        """Serve `config` from these; what only others name is closed after its last request."""
        buckets.tell(self._buckets)
        self._buckets.tenancy.end()
        self._buckets = buckets
        self._forget_resilience(config)
        self._serve(config)

    async def _open(self, config: GatewayConfig) -> Buckets[Driver]:
        """Open what `config` names; one that can't be had costs only its own usecases."""
        tenancy = Tenancy(self._open_stores)
        stores: dict[str, Driver] = {}
        absent: dict[str, Absence] = {}
        for key, bucket in config.buckets.items():
            try:
                stores[key] = await self._open_one(tenancy, key, bucket)
            except PannierError as error:
                told = f"bucket {key} can't be opened: {without_paths(str(error), self._settings)}"
                absent[key] = Absence(str(error), f"{told}; it is tried again")
        return Buckets(tenancy, stores, absent)

    def _demand_data_dir(self, buckets: Buckets[Driver]) -> None:
        """Raises StoreUnavailable where no Bucket could be opened and one should live in it."""
        if buckets.stores:
            return
        for key, absence in buckets.absent.items():
            if in_data_dir(self.config.buckets[key], self._settings):
                raise StoreUnavailable(absence.reason)

    async def _open_one(self, tenancy: Tenancy[Driver], key: str, bucket: BucketConfig) -> Driver:
        if bucket.type != "Filesystem":
            if key not in self._resilience:
                self._resilience[key] = Resilience(key, self._shared)
            provision = self._resilience[key]
            provision.obey(bucket.resilience)
            secrets = self._secrets(bucket.namespace)
            start = partial(OPENED[bucket.type], bucket, secrets, self.trusts, provision)
            return await tenancy.open(msgspec.json.encode(bucket), start)
        return await self._open_folder(tenancy, bucket)

    def _forget_resilience(self, config: GatewayConfig) -> None:
        """Of buckets that are gone, or that are folders now."""
        for key in list(self._resilience):
            bucket = config.buckets.get(key)
            if bucket is None or bucket.type == "Filesystem":
                del self._resilience[key]
                self.metrics.resilience.forget(key)

    def _promises(self) -> dict[str, Mapping[str, bool]]:
        stores = self._buckets.stores.items()
        return {key: store.promises for key, store in stores if isinstance(store, S3Store)}

    def _secrets(self, namespace: str) -> Secrets:
        """Where a Bucket of this namespace finds what it names."""
        places: list[Secrets] = []
        if self._settings.secrets_dir is not None:
            places.append(MountedSecrets(self._settings.secrets_dir))
        source = self._source
        if isinstance(source, ManifestSource):
            places.append(ManifestSecrets(lambda: source.contents, namespace))
        return EitherSecrets(*places)

    async def _open_folder(self, tenancy: Tenancy[Driver], bucket: BucketConfig) -> Driver:
        folder = folder_of(bucket, self._settings)
        durability = self._settings.durability
        start = partial(FileStore.start, folder, self._disk, durability=durability)
        try:
            return await tenancy.open(folder, start)
        except OSError as error:
            raise StoreUnavailable(
                f"{folder} can't be used: {error.strerror} (see --data-dir and --claims-dir)"
            ) from error

    def _serve(self, config: GatewayConfig) -> None:
        """From now on requests meet this configuration; those in flight keep theirs."""
        seams = {key: self._seam(key, bucket) for key, bucket in config.buckets.items()}
        served = {
            name: Objects(
                usecase, config.buckets[usecase.bucket], seams[usecase.bucket], self._parts
            )
            for name, usecase in config.usecases.items()
        }
        gates = self._admission.gates(config.usecases.values())
        self._catalog = Catalog(served, gates, reasons(self.refused), stores=self._buckets.tenancy)
        self.serving.set()

    def _seam(self, key: str, bucket: BucketConfig) -> Store:
        if key in self._buckets.absent:
            return AbsentStore(self._buckets.absent[key].told)
        driver = self._buckets.stores[key]
        store: Store = CountedStore(driver, partial(self.metrics.store_operations.add, key))
        if key in self._resilience:
            in_parts = isinstance(driver, S3Store)
            store = self._resilience[key].around(store, sends_parts_again=in_parts)
        if bucket.prefix is None or bucket.type == "Upstream":  # whose keys begin with it
            return store
        return PrefixedStore(store, bucket.prefix)


def reasons(refused: Iterable[Refused]) -> dict[str, str]:
    """Why nothing answers to a name in URLs, in words."""
    return {each.usecase: each.message for each in refused if each.usecase is not None}


def hub_of(settings: Settings) -> Hub | None:
    """What other gateways come to, where they may. Raises SettingsError."""
    if settings.tls_dir is None or settings.tls_clients is None:
        return None
    return Hub(settings.tls_dir, settings.tls_clients)


def source_of(settings: Settings) -> ManifestSource | ConfigFile:
    if settings.manifests is not None:
        return ManifestSource(settings.manifests)
    assert settings.config is not None  # parse_settings saw to it
    return ConfigFile(settings.config)


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


@asynccontextmanager
async def in_background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` beside the block, and end it with the block; if work fails, so does the block."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed  # one is told, the group has them all
