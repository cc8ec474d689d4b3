"""Listeners, signals and the orderly end."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from pannier_gateway.admin import Admin
from pannier_gateway.api.connection import DataServer
from pannier_gateway.api.objectstore.replies import failure_body
from pannier_gateway.api.pages import Hosts, any_host, loopback_hosts
from pannier_gateway.app import Gateway, in_background
from pannier_gateway.settings import Address, Settings, SettingsError

log = logging.getLogger("pannier.serve")

BACKLOG = 1024
FAREWELL_SECONDS = 1.0  # for what is still in flight when the drain is over
HANDSHAKE_SECONDS = 10.0
ENDINGS = (signal.SIGINT, signal.SIGTERM)


async def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM. Raises SettingsError, ConfigError, StoreUnavailable, OSError."""
    ending = asyncio.Event()
    for each in ENDINGS:
        asyncio.get_running_loop().add_signal_handler(each, ending.set)
    async with (
        Gateway.run(settings) as gateway,
        admin(settings, gateway) as admin_at,
        data(settings, gateway) as data_at,
        in_background(announce(gateway, f"data {data_at} admin {admin_at}")),
    ):
        gateway.started = True
        await ending.wait()


async def announce(gateway: Gateway, where: str) -> None:
    """Say where it listens once it serves, and until then what it waits for."""
    if gateway.waiting is not None:
        print(f"pannier-gateway not ready: {gateway.waiting}; {where}", file=sys.stderr, flush=True)
    await gateway.serving.wait()
    print(f"pannier-gateway ready: {where}", flush=True)


@asynccontextmanager
async def admin(settings: Settings, gateway: Gateway) -> AsyncIterator[str]:
    """Serve the admin pages; where."""
    runner = web.AppRunner(
        Admin(gateway).application(), access_log=None, shutdown_timeout=FAREWELL_SECONDS
    )
    await runner.setup()
    try:
        listener = bind(settings.admin_listen, "--admin-listen")
        await web.SockSite(runner, listener).start()
        yield url(listener)
    finally:
        await runner.cleanup()


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
    if settings.tls_listen is None or hub is None:
        yield ""
        return
    listener = bind(settings.tls_listen, "--tls-listen", shared=settings.worker > 0)
    taking = await asyncio.get_running_loop().create_server(
        server,
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


def hosts_of(listener: socket.socket, asked: Address) -> Hosts:
    """On loopback a browser of this machine is a neighbour; elsewhere names are the network's."""
    loopback = ip_address(listener.getsockname()[0]).is_loopback
    return loopback_hosts(asked.host) if loopback else any_host


def bind(address: Address, option: str, *, shared: bool = False) -> socket.socket:
    """A socket there, `shared` with others that are. Raises SettingsError when it can't be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SettingsError(f"{option} {address}: {error.strerror}") from error
    return listener


def bind_path(path: Path) -> socket.socket:
    """Raises SettingsError when the path can't be had."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        free(path)
        listener.bind(str(path))
        path.chmod(0o666)  # whoever the pod's containers run as
    except OSError as error:
        listener.close()
        raise SettingsError(f"--socket {path}: {error.strerror or error}") from error
    return listener


def free(path: Path) -> None:
    """Clear away a socket that a dead process left. Raises SettingsError when somebody listens."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # alive, with many waiting already
    raise SettingsError(f"--socket {path}: another process listens on it")


@contextmanager
def ours(path: Path) -> Iterator[None]:
    """Take the socket at `path` away at the end, unless it is another one by then.

    That comes before the listener is closed: from then on a successor may have the path.
    """
    made = path.stat()
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), made):
                path.unlink()


def url(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{Address(host, port)}"
