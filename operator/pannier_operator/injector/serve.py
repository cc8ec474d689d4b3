"""The injector at work: everything it is made of, its listeners, and the orderly end."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry

from pannier_operator.cluster import Connection
from pannier_operator.injector.cluster import (
    ApiServer,
    ClusterBuckets,
    ClusterVault,
    VaultNames,
    connected,
)
from pannier_operator.injector.metrics import Metrics
from pannier_operator.injector.rotation import Mounted, Own, Rotation, Source
from pannier_operator.injector.server import Admin, Injector
from pannier_operator.injector.settings import Settings
from pannier_operator.injector.sharing import SharedBuckets
from pannier_operator.injector.tls import Identity
from pannier_operator.settings import Address

log = logging.getLogger("pannier.injector")

FAREWELL_SECONDS = 6.0  # a review has five


class State:
    """What the admin pages tell, and what reviews are answered with."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.identity = Identity()
        self.ending = asyncio.Event()

    def __repr__(self) -> str:
        return f"<State {self.unready or 'ready'}>"

    @property
    def registry(self) -> CollectorRegistry:
        return self.metrics.registry

    @property
    def unready(self) -> str:
        return "shutting down" if self.ending.is_set() else self.identity.unready

    async def part(self, _: web.Request, response: web.StreamResponse) -> None:
        """Near the end, have API servers connect anew: to another injector."""
        if self.ending.is_set():
            response.force_close()


class Places(NamedTuple):
    """Where it listens, once it does."""

    reviews: Address
    admin: Address


async def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises Unusable, ClusterError, OSError."""
    state = State()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, state.ending.set)
    async with injecting(settings, state):
        await state.ending.wait()
        await asyncio.sleep(settings.linger)


@asynccontextmanager
async def injecting(settings: Settings, state: State) -> AsyncIterator[Places]:
    """Answer reviews until the block ends; those under way then are answered still.

    Until there is a certificate no handshake comes to anything, and `/readyz` says so.
    """
    login = Connection(settings.kubeconfig)
    await login.load()
    admin = Admin(state).application()
    async with connected(login) as server, listening(admin, settings.metrics_listen) as admin_at:
        rotation = Rotation(source_of(settings, server), state.identity, state.metrics)
        reviews = reviewing(settings, server, state)
        async with rotating(rotation), listening(reviews, settings.listen, state.identity) as at:
            log.info("listening", extra={"reviews": str(at), "admin": str(admin_at)})
            yield Places(at, admin_at)


def reviewing(settings: Settings, server: ApiServer, state: State) -> web.Application:
    buckets = SharedBuckets(ClusterBuckets(server))
    injector = Injector(settings.sidecar, settings.excluded, buckets, state.metrics)
    application = injector.application()
    application.on_response_prepare.append(state.part)
    return application


def source_of(settings: Settings, server: ApiServer) -> Source:
    if settings.certificate_dir is not None:
        return Mounted(settings.certificate_dir)
    names = VaultNames(settings.namespace, settings.certificate_secret, settings.webhooks)
    return Own(ClusterVault(server, names), settings.names)


@asynccontextmanager
async def rotating(rotation: Rotation) -> AsyncIterator[None]:
    """Look after the certificate beside the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rotation.run())
        yield
        task.cancel()


@asynccontextmanager
async def listening(
    application: web.Application, address: Address, identity: Identity | None = None
) -> AsyncIterator[Address]:
    """Serve at `address`, with an identity by HTTPS; where. Raises OSError."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=FAREWELL_SECONDS)
    await runner.setup()
    try:
        context = None if identity is None else identity.context
        await web.TCPSite(runner, address.host, address.port, ssl_context=context).start()
        yield Address(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()
