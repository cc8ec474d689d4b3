"""Listeners, signals and the orderly end."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from pannier_gateway.admin import Admin
from pannier_gateway.api.connection import DataServer
from pannier_gateway.app import Gateway
from pannier_gateway.settings import Address, Settings, SettingsError

log = logging.getLogger("pannier.serve")

BACKLOG = 1024
FAREWELL_SECONDS = 1.0  # for what is still in flight when the drain is over
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
    ):
        gateway.started = True
        print(f"pannier-gateway ready: data {data_at} admin {admin_at}", flush=True)
        await ending.wait()


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
    loop = asyncio.get_running_loop()
    server = DataServer(gateway.door, handler_cancellation=True)
    listener = bind(settings.listen, "--listen")
    listening = [await loop.create_server(server, sock=listener, backlog=BACKLOG)]
    where = url(listener)
    if settings.socket is not None:
        at_path = bind_path(settings.socket)
        listening.append(await loop.create_unix_server(server, sock=at_path, backlog=BACKLOG))
        where += f" socket {settings.socket}"
    try:
        yield where
    finally:
        for each in listening:
            each.close()
        server.pre_shutdown()
        if not await gateway.drain.finish(settings.drain):
            log.warning("drain ended early", extra={"in_flight": gateway.drain.in_flight})
        await server.shutdown(FAREWELL_SECONDS)
        if settings.socket is not None:
            settings.socket.unlink(missing_ok=True)


def bind(address: Address, option: str) -> socket.socket:
    """Raises SettingsError when the address can't be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
        else:
            raise SettingsError(f"--socket {path}: another process listens on it")


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{Address(host, port)}"
