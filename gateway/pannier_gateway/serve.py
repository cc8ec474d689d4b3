"""Listeners, signals and the orderly end."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pannier_gateway.admin import FAREWELL_SECONDS, Admin, serving
from pannier_gateway.api.connection import DataServer
from pannier_gateway.api.objectstore.replies import failure_body
from pannier_gateway.api.pages import any_host
from pannier_gateway.app import Gateway
from pannier_gateway.background import in_background
from pannier_gateway.listeners import bind, bind_path, hosts_of, ours, url
from pannier_gateway.settings import Settings
from pannier_gateway.signals import INTERRUPTED, heed

log = logging.getLogger("pannier.serve")

BACKLOG = 1024
HANDSHAKE_SECONDS = 10.0


async def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises SettingsError, ConfigError, StoreUnavailable, OSError."""
    ending = asyncio.Event()
    heed(ending, lambda: os._exit(INTERRUPTED))  # what is kept bears a sudden end at any time
    async with (
        Gateway.run(settings) as gateway,
        serving(admin := Admin(gateway), settings.admin_listen) as admin_at,
        data(settings, gateway) as data_at,
        in_background(announce(gateway, f"data {data_at} admin {admin_at}")),
    ):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, gateway.reload)
        admin.started = True
        await ending.wait()
        fields = {"in_flight": gateway.drain.in_flight, "seconds": settings.drain}
        log.info("draining", extra=fields)
    log.info("stopped")


async def announce(gateway: Gateway, where: str) -> None:
    """Say where it listens once it serves, and until then what it waits for."""
    if gateway.waiting is not None:
        print(f"pannier-gateway not ready: {gateway.waiting}; {where}", file=sys.stderr, flush=True)
    await gateway.serving.wait()
    fields = {"generation": gateway.config.generation, "digest": gateway.digest}
    log.info("serving", extra=fields | {"usecases": sorted(gateway.config.usecases)})
    print(f"pannier-gateway ready: {where}", flush=True)


@asynccontextmanager
async def data(settings: Settings, gateway: Gateway) -> AsyncIterator[str]:
    """Serve objects; where. When the block ends, what is in flight may finish."""
    server = DataServer(gateway.door, failure_body, gateway.metrics.requests)
    try:
        async with (
            listening(settings, server) as where,
            to_gateways(settings, gateway, server) as further,
        ):
            yield where + further
    finally:
        server.pre_shutdown()
        if not await gateway.drain.finish(settings.drain):
            log.warning("drain ended early", extra={"in_flight": gateway.drain.in_flight})
        await server.shutdown(FAREWELL_SECONDS)


@asynccontextmanager
async def listening(settings: Settings, server: DataServer) -> AsyncIterator[str]:
    """Take connections until the block ends; where."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        listener = bind(settings.listen, "--listen", shared=settings.worker > 0)
        connections = server.of(hosts_of(listener, settings.listen))
        tcp = await loop.create_server(connections, sock=listener, backlog=BACKLOG)
        stack.callback(tcp.close)
        where = url(listener)
        if settings.socket is not None:
            at_path = bind_path(settings.socket)
            unix = await loop.create_unix_server(server, sock=at_path, backlog=BACKLOG)
            stack.callback(unix.close)
            stack.enter_context(ours(settings.socket))
            where += f" socket {settings.socket}"
        yield where


@asynccontextmanager
async def to_gateways(
    settings: Settings, gateway: Gateway, server: DataServer
) -> AsyncIterator[str]:
    """Take connections of other gateways, if there is a place for that, until the block ends."""
    hub = gateway.hub
    if settings.hub is None or hub is None:
        yield ""
        return
    listener = bind(settings.hub.tls_listen, "--tls-listen", shared=settings.worker > 0)
    taking = await asyncio.get_running_loop().create_server(
        server.of(any_host, hub.lifetime),
        sock=listener,
        backlog=BACKLOG,
        ssl=hub.context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
    )
    try:
        async with hub.following(gateway.trusts):
            yield f" tls {url(listener, 'https')}"
    finally:
        taking.close()
