"""What Prometheus and the kubelet ask of the operator, and of nobody else: /metrics and /livez."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from pannier_operator.settings import Address


@asynccontextmanager
async def listening(
    address: Address, registry: CollectorRegistry, ailing: Callable[[], str | None]
) -> AsyncIterator[None]:
    """Answer at `address`; /livez is red when `ailing` says what is wrong. Raises OSError."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST}
        )

    async def live(_: web.Request) -> web.Response:
        trouble = ailing()
        return web.Response(status=503 if trouble else 200, text=f"{trouble or 'ok'}\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/livez", live)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
        yield
    finally:
        await runner.cleanup()
