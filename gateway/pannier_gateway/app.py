"""The composition root: settings become a running gateway, and everything is wired here."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from random import random

from prometheus_client import CollectorRegistry

from pannier_gateway.admin import ConfigPage, kept_in
from pannier_gateway.admission import Admission
from pannier_gateway.allocator import trim_after_bursts
from pannier_gateway.api.objectstore import Door, anybody
from pannier_gateway.background import in_background
from pannier_gateway.backing import Backing, Driver, in_data_dir
from pannier_gateway.backoff import Backoff
from pannier_gateway.catalog import Catalog, Served
from pannier_gateway.clock import system_clock
from pannier_gateway.codec import MemoryBudget
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.config.source import LeftOut, source_of
from pannier_gateway.config.watch import ConfigWatch
from pannier_gateway.drain import Drain
from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.lag import LoopLag
from pannier_gateway.metrics import Metrics
from pannier_gateway.objects import Parts
from pannier_gateway.permit import Permit
from pannier_gateway.settings import Settings
from pannier_gateway.stores.base import Sweepable
from pannier_gateway.stores.buckets import Buckets
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.secrets import Secrets, secrets_of
from pannier_gateway.stores.tenancy import Tenancy
from pannier_gateway.sweeper import Sweeper
from pannier_gateway.tls.hub import hub_of
from pannier_gateway.tls.trust import Trusts

log = logging.getLogger("pannier.app")

DISK_THREADS = 4
REOPENING = Backoff(first=2.0, longest=30.0)  # of Buckets that could not be opened
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
            lambda: Catalog(waiting=self.waiting) if self._catalog is None else self._catalog,
            self.drain,
            self.metrics,
            anybody if self.hub is None else self.hub.admit,
        )
        self.serving = asyncio.Event()
        self._settings = settings
        self._lag = LoopLag(self.metrics.loop_lag.observe)
        source = source_of(settings.manifests, settings.config)
        self._watch = ConfigWatch(source, self.metrics.config)
        self._changes: asyncio.Queue[GatewayConfig] = asyncio.Queue()
        self._watch.subscribe(self._changes.put_nowait)
        self._disk = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="pannier-disk")
        self._codec = ThreadPoolExecutor(CODEC_THREADS, thread_name_prefix="pannier-codec")
        self._parts = Parts(system_clock, Workers(self._codec, MemoryBudget()), self.metrics)
        self._backing = Backing(settings, self.metrics, lambda: self.lag, self._disk, self._secrets)
        self._buckets: Buckets[Driver] = Buckets(Tenancy(self._backing.open_stores), {}, {})
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
            async with gateway._backing.open_stores:
                buckets = await gateway._backing.open(gateway.config)
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
    def refused(self) -> tuple[LeftOut, ...]:
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
    def trusts(self) -> Trusts:
        return self._backing.trusts

    @property
    def in_force(self) -> ConfigPage:
        """The configuration, and what has become of it."""
        return ConfigPage(
            self.digest,
            self.problem,
            self.refused,
            kept_in(self.config, self._buckets.shown),
            {user: trust.state for user, trust in self.trusts.in_use.items()},
            self.config,
        )

    def reload(self) -> None:
        """Read the configuration again, soon, also where nothing tells that it has changed."""
        self._watch.nudge()

    def _chores(self) -> Iterable[Coroutine[None, None, None]]:
        sweeper = Sweeper(
            lambda: [s for s in self._buckets.stores.values() if isinstance(s, Sweepable)],
            self._settings.sweep_interval,
            self.metrics.swept.inc,
        )
        closing = self._backing.open_stores.run()
        trimming = trim_after_bursts(self._parts.workers.budget, self._codec)
        return self._watch.run(), self._follow(), self._lag.run(), sweeper.run(), closing, trimming

    async def _follow(self) -> None:
        """Take up each new configuration, and try again to open what could not be had."""
        failures = 0
        while True:
            config = await self._next_config(REOPENING.after(failures, random()))
            if config is not None:
                self._take_up(config, await self._backing.open(config))
                failures = 0
            elif self._buckets.wanting:
                failures = 0 if await self._try_again() else failures + 1

    async def _next_config(self, seconds: float) -> GatewayConfig | None:
        """The next one, unless none comes in this time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._changes.get()
        except TimeoutError:
            return None

    async def _try_again(self) -> bool:
        """Whether anything is other than before."""
        buckets = await self._backing.open(self.config)
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
        self._backing.forget(config)
        self._serve(config)

    def _demand_data_dir(self, buckets: Buckets[Driver]) -> None:
        """Raises StoreUnavailable where no Bucket could be opened and one should live in it."""
        if buckets.stores:
            return
        for key, absence in buckets.absent.items():
            if in_data_dir(self.config.buckets[key], self._settings):
                raise StoreUnavailable(absence.reason)

    def _promises(self) -> dict[str, Mapping[str, bool]]:
        stores = self._buckets.stores.items()
        return {key: store.promises for key, store in stores if isinstance(store, S3Store)}

    def _secrets(self, namespace: str) -> Secrets:
        """Where a Bucket of this namespace finds what it names."""
        beside = None if self._settings.manifests is None else lambda: self._watch.contents
        return secrets_of(self._settings.secrets_dir, beside, namespace)

    def _serve(self, config: GatewayConfig) -> None:
        """From now on requests meet this configuration; those in flight keep theirs."""
        seams = {
            key: self._backing.seam(self._buckets, key, bucket)
            for key, bucket in config.buckets.items()
        }
        gates = self._admission.gates(config.usecases.values())
        served: dict[str, Served] = {}
        for name, usecase in config.usecases.items():
            permit = Permit(usecase, config.buckets[usecase.bucket], seams[usecase.bucket])
            served[name] = Served.of(usecase, permit, self._parts, gates[name])
        self._catalog = Catalog(served, reasons(self.refused), tenancy=self._buckets.tenancy)
        self.serving.set()


def reasons(refused: Iterable[LeftOut]) -> dict[str, str]:
    """Why nothing answers to a name in URLs, in words."""
    return {each.usecase: each.message for each in refused if each.usecase is not None}
