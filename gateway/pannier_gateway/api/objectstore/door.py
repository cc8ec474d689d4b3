"""The requests of the objectstore protocol: told apart, handed on, and refused in its words."""

import asyncio
import logging
from collections.abc import Callable

from pannier.protocol.malformed import Malformed
from pannier.protocol.target import Target, parse_target
from pannier_gateway.api.exchange import Exchange
from pannier_gateway.api.objectstore.gateways import KEPT_COLLECTION, KEPT_OBJECT, absence
from pannier_gateway.api.objectstore.operations import COLLECTION, JSON, OBJECT, Operations
from pannier_gateway.api.objectstore.replies import Headers, failure_body
from pannier_gateway.api.request import Request
from pannier_gateway.catalog import Catalog
from pannier_gateway.drain import Drain
from pannier_gateway.errors import (
    BadRequest,
    MethodNotAllowed,
    NotOffered,
    ObjectExpired,
    ObjectNotFound,
    PannierError,
    RangeNotSatisfiable,
    RouteUnknown,
)
from pannier_gateway.metrics import Metrics
from pannier_gateway.ranges import content_range
from pannier_gateway.stores import records

log = logging.getLogger("pannier.api")

TEXT = {"content-type": "text/plain; charset=utf-8"}
UNPACED = ("HEAD", "DELETE")  # methods that bytes are no matter to

Admit = Callable[[asyncio.BaseTransport | None, str], None]
"""Raises NotPermitted where who is at the other end may not touch that usecase."""


def anybody(transport: asyncio.BaseTransport | None, usecase: str) -> None:
    """Admit whoever reaches the listener."""


class Door:
    """Handles every request of the data listeners."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        drain: Drain,
        metrics: Metrics,
        admit: Admit = anybody,
    ) -> None:
        self._admit = admit
        self._catalog = catalog
        self._drain = drain
        self._metrics = metrics

    async def __call__(self, request: Request) -> bool:
        with Exchange(request, self._metrics.requests, self._drain) as exchange:
            try:
                await self._answer(exchange)
            except PannierError as error:
                await self._refuse(exchange, error)
            except Malformed as error:
                await self._refuse(exchange, BadRequest(str(error)))
            except (ConnectionError, asyncio.CancelledError):
                raise  # the client left
            except Exception:  # the outermost loop of a request: its bug must not look like an end
                log.exception("request failed", extra={"target": request.raw_path})
                await self._refuse(exchange, PannierError("the gateway's log says more"))
        return exchange.keep_alive

    async def _answer(self, exchange: Exchange) -> None:
        target = parse_target(exchange.request.raw_path)
        if target is None:
            await self._answer_root(exchange)
            return
        operations = operations_for(exchange.request, target)
        offered = operations.get(exchange.method)
        if offered is None:
            told = f"{exchange.method} is not offered here, but {', '.join(operations)}"
            raise MethodNotAllowed(told, tuple(operations))
        exchange.operation, operation = offered
        self._admit(exchange.request.transport, target.usecase)
        catalog = self._catalog()
        served = catalog.find(target.usecase)
        exchange.usecase = target.usecase
        gate = served.gate
        if exchange.method not in UNPACED:
            gate.demand_progress()
        with catalog.tenancy, gate:
            exchange.pacer = gate.pacer
            await operation(exchange, served, target)

    async def _answer_root(self, exchange: Exchange) -> None:
        path = exchange.request.raw_path.partition("?")[0]
        if path.startswith("/v1/objects:"):
            raise NotOffered(f"{path.split('/')[2]!r} is not offered")
        if path not in ("/health", "/ready"):
            raise RouteUnknown(
                f"no route {path!r}: objects are at /v1/objects/USECASE/SCOPES/KEY, "
                "metrics at the address given as --admin-listen"
            )
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(f"{path} takes GET", ("GET", "HEAD"))
        exchange.operation = path[1:]
        if path == "/ready" and self._drain.begun:
            await exchange.send(503, TEXT, b"Shutting down")
        elif path == "/ready" and self._catalog().waiting is not None:
            await exchange.send(503, TEXT, b"Waiting for a configuration")
        else:
            await exchange.send(200, TEXT | {records.HEADER: records.VERSION}, b"OK")

    async def _refuse(self, exchange: Exchange, error: PannierError) -> None:
        if exchange.begun:
            log.error("answer cut off", extra={"error": str(error), "exchange": repr(exchange)})
            exchange.abort()
            raise ConnectionResetError("cut off") from error
        exchange.ordinary, exchange.detail = error.ordinary, str(error)
        if isinstance(error, ObjectExpired):
            self._metrics.expired.labels(exchange.usecase).inc()
        await exchange.send(error.status, *refusal(error, exchange.request))


def operations_for(request: Request, target: Target) -> Operations:
    """What is offered there: to gateways their own."""
    if of_gateway(request):
        return KEPT_COLLECTION if target.key is None else KEPT_OBJECT
    return COLLECTION if target.key is None else OBJECT


def of_gateway(request: Request) -> bool:
    return records.HEADER in request.headers


def refusal(error: PannierError, request: Request) -> tuple[Headers, bytes]:
    """Headers and body; the protocol gives no body to what is not there."""
    match error:
        case ObjectNotFound():
            return absence(error) if of_gateway(request) else {}, b""
        case RangeNotSatisfiable():
            size = content_range(None, error.size)
            return {"content-range": size, "accept-ranges": "bytes"}, b""
        case MethodNotAllowed():
            more = {"allow": ", ".join(error.allowed)}
        case PannierError(retry_after=int(seconds)):
            more = {"retry-after": str(seconds)}
        case _:
            more = {}
    return JSON | more, failure_body(error)
