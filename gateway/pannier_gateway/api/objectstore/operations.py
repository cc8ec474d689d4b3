"""What each method of the protocol does: request in, object service called, answer out."""

from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

import msgspec
from aiohttp.web import BaseRequest, StreamResponse

from pannier.protocol.metadata import ETAG, Metadata
from pannier.protocol.names import storage_prefix
from pannier.protocol.target import Target
from pannier_gateway.api.exchange import Exchange
from pannier_gateway.api.objectstore import replies
from pannier_gateway.conditions import parse_conditions
from pannier_gateway.errors import BadRequest, NotOffered
from pannier_gateway.objects import Objects
from pannier_gateway.ranges import ByteRange, parse_range
from pannier_gateway.representation import Answer, Ask
from pannier_gateway.stores.base import Listing, Record

Operation = Callable[[Exchange, Objects, Target], Awaitable[StreamResponse]]

STOCK_CLIENT = "objectstore-client/"
LONGEST_PAGE = 1000
JSON = {"content-type": "application/json"}


async def post(exchange: Exchange, objects: Objects, target: Target) -> StreamResponse:
    """Store under a key that the gateway picks."""
    key = str(uuid4())
    record = await store(exchange, objects, target, key)
    return await exchange.send(201, stored_headers(record), msgspec.json.encode({"key": key}))


async def put(exchange: Exchange, objects: Objects, target: Target) -> StreamResponse:
    record = await store(exchange, objects, target, key_of(target))
    body = msgspec.json.encode({"key": target.key})
    return await exchange.send(200, stored_headers(record), body)


async def get(exchange: Exchange, objects: Objects, target: Target) -> StreamResponse:
    request = exchange.request
    ask = ask_of(request, parse_range(request.headers.get("range")))
    async with objects.get(path_of(target), ask) as download:
        answer = download.answer
        headers = object_headers(answer, ask)
        match download.body:
            case None:
                return await exchange.send(answer.status, headers)
            case bytes() | memoryview() as body:
                return await exchange.send(answer.status, headers, body)
            case pieces:
                return await exchange.stream(answer.status, headers, pieces)


async def head(exchange: Exchange, objects: Objects, target: Target) -> StreamResponse:
    ask = ask_of(exchange.request, None)
    answer = await objects.head(path_of(target), ask)
    return await exchange.send(answer.status, object_headers(answer, ask))


async def delete(exchange: Exchange, objects: Objects, target: Target) -> StreamResponse:
    if "session" in target.query or "upload_type" in target.query:
        raise NotOffered("resumable uploads are not offered")
    await objects.delete(path_of(target), parse_conditions(exchange.request.headers.get))
    return await exchange.send(204, {})


async def list_(exchange: Exchange, objects: Objects, target: Target) -> StreamResponse:
    prefix = storage_prefix(target.usecase, target.scopes)
    page = await objects.list(listing_of(target.query, prefix))
    return await exchange.send(200, JSON, replies.listing_body(page, prefix))


OBJECT: Mapping[str, Operation] = {"GET": get, "HEAD": head, "PUT": put, "DELETE": delete}
COLLECTION: Mapping[str, Operation] = {"POST": post, "GET": list_}


async def store(exchange: Exchange, objects: Objects, target: Target, key: str) -> Record:
    if "session" in target.query or "upload_type" in target.query:
        raise NotOffered("resumable uploads are not offered: send the object in one request")
    headers = exchange.request.headers
    return await objects.put(
        storage_prefix(target.usecase, target.scopes) + key,
        Metadata.from_request_headers(headers.items()),
        exchange.body,
        parse_conditions(headers.get),
    )


def stored_headers(record: Record) -> replies.Headers:
    return JSON | {ETAG: f'"{record.etag}"'}


def object_headers(answer: Answer, ask: Ask) -> replies.Headers:
    headers = replies.object_headers(answer, as_sent=ask.as_sent)
    return headers if answer.status == 304 else headers | replies.body_headers(answer)


def ask_of(request: BaseRequest, wanted: ByteRange | None) -> Ask:
    headers = request.headers
    return Ask(
        accept_encoding=headers.get("accept-encoding"),
        range=wanted,
        conditions=parse_conditions(headers.get),
        as_sent="x-os-auth" in headers or headers.get("user-agent", "").startswith(STOCK_CLIENT),
    )


def listing_of(query: Mapping[str, str], prefix: str) -> Listing:
    """Raises BadRequest for a limit that is no number from 1 to LONGEST_PAGE."""
    limit = query.get("limit", str(LONGEST_PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= LONGEST_PAGE):
        raise BadRequest(f"limit {limit[:20]!r} must be a number from 1 to {LONGEST_PAGE}")
    after = query.get("start_after")
    return Listing(
        prefix=prefix + query.get("prefix", ""),
        start_after="" if after is None else prefix + after,
        limit=int(limit),
        delimiter=query.get("delimiter", ""),
    )


def path_of(target: Target) -> str:
    return storage_prefix(target.usecase, target.scopes) + key_of(target)


def key_of(target: Target) -> str:
    if target.key is None:
        raise BadRequest("the key is missing")
    return target.key
