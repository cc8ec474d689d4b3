"""What a range costs a store behind a network: requests, and connections that are left for it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from pannier_gateway.stores.base import Store
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.stores.upstream.plain import PlainStore
from pannier_gateway.upstream.connection import Connection, Patience
from pannier_gateway.upstream.pool import Exchange, Pool
from pannier_gateway.upstream.request import Request
from support.doorstep import serving
from support.engines import VERSITYGW, bucket_of, make_bucket, pool_of, store_of, versitygw
from support.hubs import USECASE, hub, upstream
from support.pools import in_use
from support.wire import Answer, exchange

pytestmark = pytest.mark.slow

PATH = "/v1/objects/shared/_/k"
NOISE = random.Random(4).randbytes(300_000)
TEXT = NOISE.hex().encode()  # takes half of that when it is compressed
PART = {"range": "bytes=100000-100009"}
END = "GET bytes=-65536"
KEPT_AS_SENT = replace(USECASE, compression="None")


@dataclass
class Traffic:
    """What went out since somebody looked."""

    requests: list[str] = field(default_factory=list)
    connections: int = 0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    seen = Traffic()
    asking, making = Pool.exchange, Connection.connection_made

    def asked(pool: Pool, request: Request, patience: Patience) -> Exchange:
        wanted = dict(request.headers).get("range", "all")
        seen.requests.append(f"{request.method} {wanted}" if request.method == "GET" else "HEAD")
        return asking(pool, request, patience)

    def made(connection: Connection, transport: asyncio.BaseTransport) -> None:
        seen.connections += 1
        making(connection, transport)

    monkeypatch.setattr(Pool, "exchange", asked)
    monkeypatch.setattr(Connection, "connection_made", made)
    return seen


@asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[Store]:
    with versitygw(folder) as running:
        async with in_use(pool_of(running)) as pool:
            yield store_of(bucket_of(running, make_bucket(running), pool), VERSITYGW)


@asynccontextmanager
async def gateway(_: Path) -> AsyncIterator[Store]:
    async with hub(MemoryStore(), usecases=[USECASE]) as port, upstream(port) as store:
        await store.find_out()
        yield store


@asynccontextmanager
async def objectstore(_: Path) -> AsyncIterator[Store]:
    async with hub(MemoryStore(), usecases=[KEPT_AS_SENT]) as port, upstream(port) as store:
        yield PlainStore(store._server)


BEHIND = [engine, gateway, objectstore]


@pytest.fixture(params=BEHIND, ids=lambda each: each.__name__)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opening: Callable[[Path], AbstractAsyncContextManager[Store]] = request.param
    async with opening(tmp_path) as store:
        yield store


class Reader:
    """Asks a gateway before `store` for an object, and tells what that took."""

    def __init__(self, url: str, traffic: Traffic) -> None:
        self._url = url
        self._traffic = traffic

    async def put(self, body: bytes) -> None:
        assert (await self._ask("PUT", {}, body)).status == 200
        self._traffic.requests.clear()
        self._traffic.connections = 0

    async def get(self, headers: dict[str, str]) -> tuple[Answer, list[str]]:
        answer = await self._ask("GET", headers)
        requests = self._traffic.requests[:]
        self._traffic.requests.clear()
        assert self._traffic.connections == 0, "one was dropped"
        return answer, requests

    async def _ask(self, method: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        return await asyncio.to_thread(exchange, self._url, method, PATH, headers, body)


@asynccontextmanager
async def reader(store: Store, traffic: Traffic, compression: str) -> AsyncIterator[Reader]:
    async with serving(store, name="shared", defaults={"compression": compression}) as url:
        yield Reader(url, traffic)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=100000-100009", slice(100_000, 100_010)),
        ("bytes=1-250000", slice(1, 250_001)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=299000-", slice(299_000, None)),
        ("bytes=299990-400000", slice(299_990, None)),
    ],
)
async def test_a_range_is_one_request(
    store: Store, traffic: Traffic, asked: str, part: slice
) -> None:
    async with reader(store, traffic, "None") as one:
        await one.put(NOISE)

        answer, requests = await one.get({"range": asked})

        assert (answer.status, answer.body, requests) == (206, NOISE[part], [f"GET {asked}"])


async def test_a_range_behind_the_end_is_looked_at(store: Store, traffic: Traffic) -> None:
    async with reader(store, traffic, "None") as one:
        await one.put(NOISE)

        answer, requests = await one.get({"range": "bytes=300000-"})

        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */300000")
        assert requests == ["GET bytes=300000-", "HEAD"]


async def test_what_a_reader_has_already_is_only_looked_at(store: Store, traffic: Traffic) -> None:
    async with reader(store, traffic, "None") as one:
        await one.put(NOISE)
        etag = (await one.get(PART))[0].headers["etag"]

        same, at_first = await one.get({"if-none-match": etag})
        other, then = await one.get({"if-none-match": '"other"'} | PART)
        guarded, at_once = await one.get({"if-match": etag} | PART)

        assert (same.status, at_first) == (304, ["HEAD"])
        assert (other.body, then) == (NOISE[100_000:100_010], ["HEAD", "GET bytes=100000-100009"])
        assert (guarded.status, len(at_once)) == (206, 1)


async def test_a_range_of_what_is_compressed_is_two_requests_and_then_one(
    store: Store, traffic: Traffic
) -> None:
    if isinstance(store, PlainStore):
        pytest.skip("what it keeps compressed, a client may have compressed: it has no table")
    async with reader(store, traffic, "Zstd") as one:
        await one.put(TEXT)

        first, two = await one.get(PART)
        second, then = await one.get({"range": "bytes=590000-590009"})

        assert (first.body, second.body) == (TEXT[100_000:100_010], TEXT[590_000:590_010])
        assert (len(two), two[0], len(then)) == (2, END, 1)


async def test_a_range_of_what_did_not_compress_is_two_requests_and_then_one(
    store: Store, traffic: Traffic
) -> None:
    async with reader(store, traffic, "Zstd") as one:
        await one.put(NOISE)

        answer, requests = await one.get(PART)

        assert answer.body == NOISE[100_000:100_010]
        assert requests == [END, "GET bytes=100000-100009"]
        assert (await one.get(PART))[1] == ["GET bytes=100000-100009"]


@pytest.mark.parametrize("compression", ["None", "Zstd"])
async def test_a_range_of_what_is_small_is_one_request(
    store: Store, traffic: Traffic, compression: str
) -> None:
    async with reader(store, traffic, compression) as one:
        await one.put(TEXT[:50_000])

        answer, requests = await one.get({"range": "bytes=40000-40009"})

        assert (answer.body, len(requests)) == (TEXT[40_000:40_010], 1)


async def test_an_empty_object_has_no_range(store: Store, traffic: Traffic) -> None:
    async with reader(store, traffic, "None") as one:
        await one.put(b"")

        assert (await one.get({"range": "bytes=0-9"}))[0].status == 416
        assert (await one.get({"range": "bytes=-9"}))[0].status == 416
        assert (await one.get({}))[0].body == b""
