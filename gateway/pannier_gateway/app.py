"""The composition root: settings become a running gateway, and everything is wired here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from pannier_gateway.api.objectstore import Door
from pannier_gateway.clock import system_clock
from pannier_gateway.codec import DecoderBudget
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.model import BucketConfig, GatewayConfig, UsecaseConfig
from pannier_gateway.config.watch import ConfigFile, ConfigWatch, ManifestSource
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

log = logging.getLogger("pannier.app")

WORKER_THREADS = 4


class Gateway:
    """One gateway: its configuration, its stores, and the usecases served from them.

    Build it with `Gateway.run`.
    """

    def __init__(self, settings: Settings) -> None:
        self.drain = Drain()
        self.metrics = Metrics(self.drain)
        self.door = Door(lambda: self._usecases, self.drain, self.metrics)
        self.started = False
        self._settings = settings
        self._lag = LoopLag(self.metrics.loop_lag.observe)
        self._watch = ConfigWatch(source_of(settings), self.metrics.config)
        self._changes: asyncio.Queue[GatewayConfig] = asyncio.Queue()
        self._watch.subscribe(self._changes.put_nowait)
        self._pool = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="pannier-worker")
        self._parts = Parts(system_clock, Workers(self._pool, DecoderBudget()), self.metrics)
        self._closing = AsyncExitStack()
        self._stores: dict[str, FileStore] = {}
        self._absent: dict[str, str] = {}
        self._usecases: Mapping[str, Objects] = {}

    def __repr__(self) -> str:
        return f"<Gateway {len(self._usecases)} usecases, {len(self._stores)} stores>"

    @classmethod
    @asynccontextmanager
    async def run(cls, settings: Settings) -> AsyncIterator["Gateway"]:
        """A gateway that follows its configuration until the block ends.

        Raises ConfigError or StoreUnavailable when it can't start.
        """
        gateway = cls(settings)
        with gateway._pool:
            async with gateway._closing:
                for key, bucket in gateway.config.buckets.items():
                    await gateway._open(key, bucket)
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
        return {key: repr(store) for key, store in self._stores.items()} | self._absent

    def _chores(self) -> Iterable[Coroutine[None, None, None]]:
        sweeper = Sweeper(
            lambda: list(self._stores.values()),
            self._settings.sweep_interval,
            self.metrics.swept.inc,
        )
        return self._watch.run(), self._follow(), self._lag.run(), sweeper.run()

    async def _follow(self) -> None:
        """Take up each new configuration; a store that can't be had costs only its own usecases."""
        while True:
            config = await self._changes.get()
            for key, bucket in config.buckets.items():
                try:
                    await self._open(key, bucket)
                except StoreUnavailable as error:
                    log.error("store not opened", extra={"bucket": key, "error": str(error)})
            self._serve(config)

    async def _open(self, key: str, bucket: BucketConfig) -> None:
        """Open what is new. Stores no longer named stay open for the requests that use them."""
        if bucket.type == "Filesystem" and key not in self._stores:
            self._absent[key] = f"bucket {key} could not be opened: see the gateway's log"
            self._stores[key] = await self._open_folder(folder_of(bucket, self._settings.data_dir))
            del self._absent[key]
        elif bucket.type != "Filesystem":
            self._absent[key] = f"bucket {key} has type {bucket.type}, which is not served yet"
            log.warning("bucket not served", extra={"bucket": key, "type": bucket.type})

    async def _open_folder(self, folder: Path) -> FileStore:
        starting = FileStore.start(folder, self._pool, durability=self._settings.durability)
        try:
            return await self._closing.enter_async_context(starting)
        except OSError as error:
            raise StoreUnavailable(
                f"{folder} can't be used: {error.strerror} (see --data-dir)"
            ) from error

    def _serve(self, config: GatewayConfig) -> None:
        """From now on requests meet this configuration; those in flight keep theirs."""
        for usecase in config.usecases.values():
            warn_of_rates(usecase)
        seams = {key: self._seam(key, bucket) for key, bucket in config.buckets.items()}
        self._usecases = {
            name: Objects(
                usecase, config.buckets[usecase.bucket], seams[usecase.bucket], self._parts
            )
            for name, usecase in config.usecases.items()
        }

    def _seam(self, key: str, bucket: BucketConfig) -> Store:
        if bucket.type != "Filesystem" or key not in self._stores:
            return AbsentStore(self._absent[key])
        counted = CountedStore(self._stores[key], partial(self.metrics.store_operations.add, key))
        return counted if bucket.prefix is None else PrefixedStore(counted, bucket.prefix)


def warn_of_rates(usecase: UsecaseConfig) -> None:
    """Say what is declared and not enforced: silence would pass for a promise."""
    limits = usecase.limits
    if any((limits.requests_per_second, limits.bytes_per_second, limits.concurrent_requests)):
        log.warning(
            "rates and concurrency are not limited yet, only maxObjectBytes is",
            extra={"usecase": usecase.name},
        )


def source_of(settings: Settings) -> ManifestSource | ConfigFile:
    if settings.manifests is not None:
        return ManifestSource(settings.manifests)
    assert settings.config is not None  # parse_settings saw to it
    return ConfigFile(settings.config)


def folder_of(bucket: BucketConfig, data_dir: Path) -> Path:
    """Where a Filesystem bucket lives. Raises StoreUnavailable for a name that is no folder's."""
    for name in (bucket.namespace, bucket.name):
        if not name.strip(".") or "/" in name or "\0" in name:
            raise StoreUnavailable(f"bucket {bucket.namespace}/{bucket.name}: {name!r} is no name")
    return data_dir / bucket.namespace / bucket.name


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
