"""The composition root: settings become a running gateway, and everything is wired here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry

from pannier_gateway.admission import Admission
from pannier_gateway.api.objectstore import Door
from pannier_gateway.catalog import Catalog
from pannier_gateway.clock import system_clock
from pannier_gateway.codec import DecoderBudget
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.model import BucketConfig, GatewayConfig
from pannier_gateway.config.source import ConfigFile, ManifestSource, Refused
from pannier_gateway.config.watch import ConfigWatch
from pannier_gateway.drain import Drain
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.expiry import Sweeper
from pannier_gateway.lag import LoopLag
from pannier_gateway.metrics import Metrics
from pannier_gateway.objects import Objects, Parts
from pannier_gateway.settings import Settings
from pannier_gateway.stores.absent import AbsentStore
from pannier_gateway.stores.base import Store
from pannier_gateway.stores.counted import CountedStore
from pannier_gateway.stores.file import FileStore
from pannier_gateway.stores.prefixed import PrefixedStore
from pannier_gateway.stores.s3 import S3Store, opened
from pannier_gateway.stores.secrets import (
    EitherSecrets,
    ManifestSecrets,
    MountedSecrets,
    Secrets,
)
from pannier_gateway.stores.tenancy import OpenStores, Tenancy

log = logging.getLogger("pannier.app")

Driver = FileStore | S3Store

DISK_THREADS = 4
CODEC_THREADS = 4  # apart from the disk's: compressing at a high level takes seconds


class Gateway:
    """One gateway: its configuration, its stores, and the usecases served from them.

    Build it with `Gateway.run`.
    """

    def __init__(self, settings: Settings) -> None:
        self.drain = Drain()
        self.metrics = Metrics(self.drain)
        self.door = Door(
            lambda: self._catalog or Catalog(waiting=self.waiting), self.drain, self.metrics
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
        self._parts = Parts(system_clock, Workers(self._codec, DecoderBudget()), self.metrics)
        self._open_stores: OpenStores[Driver] = OpenStores()
        self._tenancy = Tenancy(self._open_stores)
        self._stores: dict[str, Driver] = {}
        self._absent: dict[str, str] = {}
        self._admission = Admission(self.metrics.limits.count)
        self._catalog: Catalog | None = None  # until there is a configuration

    def __repr__(self) -> str:
        return f"<Gateway {self._catalog}, {len(self._stores)} stores>"

    @classmethod
    @asynccontextmanager
    async def run(cls, settings: Settings) -> AsyncIterator["Gateway"]:
        """A gateway that follows its configuration until the block ends.

        Raises ConfigError or StoreUnavailable when it can't start.
        """
        gateway = cls(settings)
        with gateway._disk, gateway._codec:
            async with gateway._open_stores:
                for error in (await gateway._open(gateway.config)).values():
                    raise error
                if gateway.digest:
                    gateway._serve(gateway.config)
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
        return {key: str(store) for key, store in self._stores.items()} | self._absent

    def _chores(self) -> Iterable[Coroutine[None, None, None]]:
        sweeper = Sweeper(
            lambda: [each for each in self._stores.values() if isinstance(each, FileStore)],
            self._settings.sweep_interval,
            self.metrics.swept.inc,
        )
        closing = self._open_stores.run()
        return self._watch.run(), self._follow(), self._lag.run(), sweeper.run(), closing

    async def _follow(self) -> None:
        """Take up each new configuration; a store that can't be had costs only its own usecases."""
        while True:
            config = await self._changes.get()
            for key, error in (await self._open(config)).items():
                log.error("store not opened", extra={"bucket": key, "error": str(error)})
            self._serve(config)

    async def _open(self, config: GatewayConfig) -> dict[str, StoreUnavailable]:
        """Open what `config` names; what can't be had, and let go what it no longer names.

        That stays open for the requests that use it.
        """
        tenancy = Tenancy(self._open_stores)
        stores: dict[str, Driver] = {}
        absent: dict[str, str] = {}
        failed: dict[str, StoreUnavailable] = {}
        for key, bucket in config.buckets.items():
            if bucket.type == "Upstream":
                absent[key] = f"bucket {key} has type {bucket.type}, which is not served yet"
                log.warning("bucket not served", extra={"bucket": key, "type": bucket.type})
                continue
            try:
                stores[key] = await self._open_one(tenancy, bucket)
            except StoreUnavailable as error:
                absent[key] = f"bucket {key} could not be opened: see the gateway's log"
                failed[key] = error
        self._tenancy.end()
        self._tenancy, self._stores, self._absent = tenancy, stores, absent
        return failed

    async def _open_one(self, tenancy: Tenancy[Driver], bucket: BucketConfig) -> Driver:
        if bucket.type == "S3":
            start = partial(opened, bucket, self._secrets(bucket.namespace))
            return await tenancy.open(msgspec.json.encode(bucket), start)
        return await self._open_folder(tenancy, bucket)

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
        self._catalog = Catalog(served, gates, reasons(self.refused), stores=self._tenancy)
        self.serving.set()

    def _seam(self, key: str, bucket: BucketConfig) -> Store:
        if key not in self._stores:
            return AbsentStore(self._absent[key])
        counted = CountedStore(self._stores[key], partial(self.metrics.store_operations.add, key))
        return counted if bucket.prefix is None else PrefixedStore(counted, bucket.prefix)


def reasons(refused: Iterable[Refused]) -> dict[str, str]:
    """Why nothing answers to a name in URLs, in words."""
    return {each.usecase: each.message for each in refused if each.usecase is not None}


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
    claim = bucket.filesystem.claim if bucket.filesystem is not None else None
    for name in (bucket.namespace, bucket.name, "unclaimed" if claim is None else claim):
        if not name.strip(".") or "/" in name or "\0" in name:
            raise StoreUnavailable(f"bucket {bucket.namespace}/{bucket.name}: {name!r} is no name")
    if claim is None or settings.claims_dir is None:
        return settings.data_dir / bucket.namespace / bucket.name
    mounted = settings.claims_dir / claim
    if not mounted.is_dir():
        raise StoreUnavailable(f"claim {claim} is not mounted at {mounted} (see --claims-dir)")
    return mounted / bucket.namespace / bucket.name


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
