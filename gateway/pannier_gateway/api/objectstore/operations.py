"""What each method of the protocol does: request in, object service called, answer out."""

import re
from collections.abc import Awaitable, Callable, Mapping
from uuid import uuid4

from pannier.protocol.metadata import ETAG, Metadata
from pannier.protocol.names import storage_prefix
from pannier.protocol.target import Target
from pannier_gateway.api.exchange import Exchange
from pannier_gateway.api.objectstore import replies
from pannier_gateway.api.request import Request
from pannier_gateway.catalog import Served
from pannier_gateway.conditions import combined, parse_conditions
from pannier_gateway.errors import BadRequest, NotOffered
from pannier_gateway.objects import Download
from pannier_gateway.ranges import RangeSpec, parse_range
from pannier_gateway.representation import Ask
from pannier_gateway.stores.base import Listing, Record

Operation = Callable[[Exchange, Served, Target], Awaitable[None]]

STOCK_CLIENT = "objectstore-client/"
ACCEPT = "accept-encoding"
LONGEST_PAGE = 1000
LISTING = ("prefix", "limit", "start_after", "delimiter")  # what a list is asked with
SIGNATURE = "os_"  # how what the protocol's signed URLs ask with begins; who signs is not looked at
JSON = {"content-type": "application/json"}


async def post(exchange: Exchange, served: Served, target: Target) -> None:
    """Store under a key that the gateway picks."""
    key = str(uuid4())
    record = await store(exchange, served, target, key)
    await exchange.send(201, stored_headers(record), replies.json_line({"key": key}))


async def put(exchange: Exchange, served: Served, target: Target) -> None:
    key = key_of(target)
    record = await store(exchange, served, target, key)
    await exchange.send(200, stored_headers(record), replies.json_line({"key": key}))


async def get(exchange: Exchange, served: Served, target: Target) -> None:
    ask = ask_of(exchange.request, parse_range(exchange.request.headers.get("range")))

    async def deliver(download: Download) -> None:
        answer, body = download
        headers = replies.object_headers(answer, as_sent=ask.as_sent)
        if body is None:
            await exchange.send(answer.status, headers)
        elif isinstance(body, bytes | memoryview):
            await exchange.send(answer.status, headers, body)
        else:
            await exchange.stream(answer.status, headers, body)

    await served.objects.get(path_of(target), ask, deliver)


async def head(exchange: Exchange, served: Served, target: Target) -> None:
    ask = ask_of(exchange.request, None)
    answer = await served.objects.head(path_of(target), ask)
    await exchange.send(answer.status, replies.object_headers(answer, as_sent=ask.as_sent))


async def delete(exchange: Exchange, served: Served, target: Target) -> None:
    refuse_resumable(target)
    await served.objects.delete(path_of(target), parse_conditions(exchange.request.headers))
    await exchange.send(204, {})


async def list_(exchange: Exchange, served: Served, target: Target) -> None:
    prefix = storage_prefix(target.usecase, target.scopes)
    page = await served.objects.list(listing_of(target.query, prefix))
    await exchange.send(200, JSON, replies.listing_body(page, prefix))


Operations = Mapping[str, tuple[str, Operation]]  # by method: its name in metrics, and itself

OBJECT: Operations = {
    "GET": ("get", get),
    "HEAD": ("head", head),
    "PUT": ("put", put),
    "DELETE": ("delete", delete),
}
COLLECTION: Operations = {"POST": ("post", post), "GET": ("list", list_)}


async def store(exchange: Exchange, served: Served, target: Target, key: str) -> Record:
    refuse_resumable(target)
    headers = exchange.request.headers
    return await served.objects.put(
        storage_prefix(target.usecase, target.scopes) + key,
        Metadata.from_request_headers(headers.items()),
        exchange.body,
        parse_conditions(headers),
    )


def refuse_resumable(target: Target) -> None:
    """Raises NotOffered: taken for an ordinary request, it would store an empty object."""
    if target.query and not {"session", "upload_type"}.isdisjoint(target.query):
        raise NotOffered("resumable uploads are not offered: send the object in one request")


def stored_headers(record: Record) -> replies.Headers:
    return {**JSON, ETAG: f'"{record.etag}"'}


def ask_of(request: Request, wanted: RangeSpec | None) -> Ask:
    headers = request.headers
    return Ask(
        accept_encoding=combined(headers, ACCEPT) if ACCEPT in headers else None,
        range=wanted,
        conditions=parse_conditions(headers),
        as_sent="x-os-auth" in headers or headers.get("user-agent", "").startswith(STOCK_CLIENT),
    )


def listing_of(query: Mapping[str, str], prefix: str) -> Listing:
    """Raises BadRequest for what nobody offers, and a limit that is not from 1 to LONGEST_PAGE."""
    for name in query:
        if name not in LISTING and not name.startswith(SIGNATURE):
            raise BadRequest(f"a list takes {', '.join(LISTING)}: {name[:20]!r} is none of them")
    limit = query.get("limit", str(LONGEST_PAGE))
    if not (re.fullmatch("[0-9]{1,4}", limit) and 1 <= int(limit) <= LONGEST_PAGE):
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
