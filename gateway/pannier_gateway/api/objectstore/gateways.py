"""What other gateways ask, in the words of `stores.records`: the Store seam over HTTP."""

from collections.abc import Mapping

import msgspec

from pannier.protocol.names import storage_prefix
from pannier.protocol.target import Target
from pannier_gateway.api.exchange import Exchange
from pannier_gateway.api.objectstore.operations import (
    Operations,
    key_of,
    listing_of,
    path_of,
)
from pannier_gateway.catalog import Served
from pannier_gateway.conditions import check_write, parse_conditions
from pannier_gateway.errors import BadRequest, ObjectExpired, ObjectNotFound, PreconditionFailed
from pannier_gateway.kept import KeptObjects
from pannier_gateway.ranges import EVERYTHING, content_range, parse_range
from pannier_gateway.span import Span
from pannier_gateway.stores import records, seals
from pannier_gateway.stores.base import Reading, Record

LONGEST_MOVE = 4096  # bytes
LONGEST_OPENING = seals.LONGEST_SEAL
BINARY = {"content-type": "application/msgpack"}


async def get(exchange: Exchange, served: Served, target: Target) -> None:
    headers = exchange.request.headers
    wanted, conditions = parse_range(headers.get("range")), parse_conditions(headers)
    async with served.kept.open(path_of(target), wanted or EVERYTHING) as reading:
        record = reading.record
        if not check_write(conditions, record.validators):
            raise PreconditionFailed
        span = None if wanted is None else wanted.resolve(record.size)
        await send(exchange, served.kept, reading, span)


async def send(exchange: Exchange, kept: KeptObjects, reading: Reading, span: Span | None) -> None:
    """The stored bytes of `span`; None: all."""
    record = reading.record
    told = described(record)
    if span is not None:
        told["content-range"] = content_range(span, record.size)
    part = span or Span(0, record.size)
    told["content-length"] = str(part.size)
    status = 200 if span is None else 206
    if reading.whole is None:
        await exchange.stream(status, told, await kept.stored(reading, part))
    else:
        await exchange.send(status, told, memoryview(reading.whole)[slice(*part)])


async def head(exchange: Exchange, served: Served, target: Target) -> None:
    await exchange.send(200, described(await served.kept.head(path_of(target))))


async def put(exchange: Exchange, served: Served, target: Target) -> None:
    conditions = parse_conditions(exchange.request.headers)
    opening = opening_of(exchange.request.headers)
    record = await served.kept.put(path_of(target), exchange.body, conditions, opening)
    await exchange.send(200, described(record))


async def delete(exchange: Exchange, served: Served, target: Target) -> None:
    if not await served.kept.delete(path_of(target), parse_conditions(exchange.request.headers)):
        raise ObjectNotFound(f"there was no {key_of(target)!r}")
    await exchange.send(204, {})


async def touch(exchange: Exchange, served: Served, target: Target) -> None:
    move = await asked_move(exchange)
    if not await served.kept.touch(path_of(target), move.etag, move.expires):
        raise ObjectNotFound(f"that version of {key_of(target)!r} is gone")
    await exchange.send(204, {})


async def list_(exchange: Exchange, served: Served, target: Target) -> None:
    prefix = storage_prefix(target.usecase, target.scopes)
    page = await served.kept.list(listing_of(target.query, prefix))
    await exchange.send(200, BINARY, records.written_page(page))


KEPT_OBJECT: Operations = {
    "GET": ("get", get),
    "HEAD": ("head", head),
    "PUT": ("put", put),
    "DELETE": ("delete", delete),
    "PATCH": ("touch", touch),
}
KEPT_COLLECTION: Operations = {"GET": ("list", list_)}


def opening_of(headers: Mapping[str, str]) -> int:
    """Bytes before those of the object. Raises BadRequest."""
    size = headers.get(seals.OPENING, "0")
    if not (size.isascii() and size.isdigit() and len(size) < 6 and int(size) <= LONGEST_OPENING):
        raise BadRequest(f"{seals.OPENING} {size[:20]!r} is not a number up to {LONGEST_OPENING}")
    return int(size)


def described(record: Record) -> dict[str, str]:
    return {records.HEADER: records.written(record)}


def absence(error: ObjectNotFound) -> dict[str, str]:
    """The headers that tell an object that is not there from a path that nobody serves."""
    expired = isinstance(error, ObjectExpired)
    return {records.HEADER: records.EXPIRED if expired else records.ABSENT}


async def asked_move(exchange: Exchange) -> records.Move:
    """Raises BadRequest."""
    body = bytearray()
    async for piece in exchange.body:
        body += piece
        if len(body) > LONGEST_MOVE:
            raise BadRequest(f"a deadline in over {LONGEST_MOVE} bytes")
    try:
        return msgspec.msgpack.decode(body, type=records.Move)
    except ValueError as error:
        raise BadRequest(f"the body names no version and deadline: {error}") from error
