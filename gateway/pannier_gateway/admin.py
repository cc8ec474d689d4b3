"""The admin listener: what Prometheus, the kubelet and a curious person ask. Read-only."""

import asyncio
from typing import Protocol

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pannier_gateway.config.model import GatewayConfig

LONGEST_LAG = 10.0  # seconds that the event loop may be late before the process counts as dead
PAGES = {
    "/metrics": "Prometheus metrics",
    "/livez": "does the event loop turn",
    "/readyz": "are requests taken",
    "/startupz": "has the start ended",
    "/configz": "the configuration in force, without secrets",
}


class Status(Protocol):
    """What the pages tell."""

    @property
    def registry(self) -> CollectorRegistry: ...

    @property
    def lag(self) -> float: ...

    @property
    def draining(self) -> bool: ...

    @property
    def started(self) -> bool: ...

    @property
    def config(self) -> GatewayConfig: ...

    @property
    def digest(self) -> str: ...

    @property
    def stores(self) -> dict[str, str]: ...


class Admin:
    """The pages."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/", self.index),
                web.get("/metrics", self.metrics),
                web.get("/livez", self.livez),
                web.get("/readyz", self.readyz),
                web.get("/startupz", self.startupz),
                web.get("/configz", self.configz),
            ]
        )
        return application

    async def index(self, _: web.Request) -> web.Response:
        return web.Response(text="".join(f"{path}\t{what}\n" for path, what in PAGES.items()))

    async def metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        body = await asyncio.to_thread(encode, self._status.registry)
        return web.Response(body=body, headers={"content-type": content_type})

    async def livez(self, _: web.Request) -> web.Response:
        lag = self._status.lag
        if lag > LONGEST_LAG:
            return web.Response(status=503, text=f"the event loop is {lag:.1f} s late\n")
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        if self._status.draining:
            return web.Response(status=503, text="shutting down\n")
        return await self.startupz(request)

    async def startupz(self, _: web.Request) -> web.Response:
        if not self._status.started:
            return web.Response(status=503, text="starting\n")
        return web.Response(text="ok\n")

    async def configz(self, _: web.Request) -> web.Response:
        page = {
            "digest": self._status.digest,
            "stores": self._status.stores,
            "config": self._status.config,
        }
        body = msgspec.json.format(msgspec.json.encode(page))
        return web.Response(body=body, headers={"content-type": "application/json"})
