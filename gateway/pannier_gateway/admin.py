"""The admin listener: what Prometheus, the kubelet and a curious person ask. Read-only."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pannier_gateway.api.pages import any_host, foreign_page
from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.config.source import LeftOut
from pannier_gateway.listeners import bind, url
from pannier_gateway.settings import Address

LONGEST_LAG = 10.0  # seconds that the event loop may be late before the process counts as dead
FAREWELL_SECONDS = 1.0  # for what is still in flight at the end
PAGES = {
    "/metrics": "Prometheus metrics",
    "/livez": "200 while the event loop turns",
    "/readyz": "200 while requests are taken",
    "/startupz": "200 once the start has ended",
    "/configz": "the configuration in force, without secrets",
}
INDEX = "".join(f"{path}\t{what}\n" for path, what in PAGES.items())


class Pages(Protocol):
    """Answers what is asked for at PAGES."""

    async def metrics(self, request: web.Request, /) -> web.Response: ...
    async def livez(self, request: web.Request, /) -> web.Response: ...
    async def readyz(self, request: web.Request, /) -> web.Response: ...
    async def startupz(self, request: web.Request, /) -> web.Response: ...
    async def configz(self, request: web.Request, /) -> web.Response: ...


class Kept(msgspec.Struct, frozen=True):
    """Where the objects of a bucket are, or why they can't be had; and the usecases in it."""

    by: str
    usecases: list[str]


class ConfigPage(msgspec.Struct, frozen=True):
    """What is in force; `problem`: why something newer is not."""

    digest: str
    problem: str | None
    refused: tuple[LeftOut, ...]
    stores: dict[str, Kept]
    certificates: Mapping[str, object]
    config: GatewayConfig


class Status(Protocol):
    """What the pages tell."""

    @property
    def registry(self) -> CollectorRegistry: ...

    @property
    def lag(self) -> float: ...

    @property
    def draining(self) -> bool: ...

    @property
    def waiting(self) -> str | None: ...  # for what, before anything is served

    @property
    def in_force(self) -> ConfigPage: ...


class Admin:
    """The pages of one gateway. `started`: its listeners are there."""

    def __init__(self, status: Status) -> None:
        self.started = False
        self._status = status

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
        if not self.started:
            return web.Response(status=503, text="starting\n")
        if self._status.waiting is not None:
            return web.Response(status=503, text=f"{self._status.waiting}\n")
        return web.Response(text="ok\n")

    async def configz(self, _: web.Request) -> web.Response:
        return config_page(self._status.in_force)


@asynccontextmanager
async def serving(pages: Pages, at: Address) -> AsyncIterator[str]:
    """Serve the pages until the block ends; where. Raises SettingsError where that can't be had."""
    runner = web.AppRunner(application(pages), access_log=None, shutdown_timeout=FAREWELL_SECONDS)
    await runner.setup()
    try:
        listener = bind(at, "--admin-listen")
        await web.SockSite(runner, listener).start()
        yield url(listener)
    finally:
        await runner.cleanup()


def application(pages: Pages) -> web.Application:
    """The pages, and whoever is lost among them."""
    built = web.Application(middlewares=[without_pages, showing_the_way])
    built.on_response_prepare.append(without_versions)
    built.add_routes(
        [
            web.get("/", index),
            web.get("/metrics", pages.metrics),
            web.get("/livez", pages.livez),
            web.get("/readyz", pages.readyz),
            web.get("/startupz", pages.startupz),
            web.get("/configz", pages.configz),
            web.route("*", "/v1/{rest:.*}", misdirected),
        ]
    )
    return built


async def index(_: web.Request) -> web.Response:
    return web.Response(text=INDEX)


def config_page(shown: object) -> web.Response:
    """What is `shown` as JSON for people."""
    body = msgspec.json.format(msgspec.json.encode(shown)) + b"\n"
    return web.Response(body=body, content_type="application/json")


async def misdirected(_: web.Request) -> web.Response:
    """A 404 would pass for an object that is not there."""
    detail = "these are the admin pages: objects are at the address given as --listen"
    body = msgspec.json.encode({"detail": f"client error: {detail}"}) + b"\n"
    return web.Response(status=421, body=body, content_type="application/json")


@web.middleware
async def without_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what web pages send; by which name it comes is free, for Prometheus has its own."""
    error = foreign_page(request.headers, any_host)
    if error is not None:
        return web.Response(status=error.status, text=f"{error}\n")
    return await handler(request)


@web.middleware
async def showing_the_way(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whoever asks for what is not there is told what is."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        error.text = f"{error.text}; GET here:\n{INDEX}"
        raise


async def without_versions(_: web.Request, response: web.StreamResponse) -> None:
    """Keep to ourselves what serves the pages: that is for those who know a hole in it."""
    del response.headers["server"]


def kept_in(config: GatewayConfig, stores: Mapping[str, str]) -> dict[str, Kept]:
    """The buckets of `config`, by what `stores` say of each."""
    usecases = config.usecases.values()
    return {
        key: Kept(by, sorted(each.name for each in usecases if each.bucket == key))
        for key, by in stores.items()
    }
