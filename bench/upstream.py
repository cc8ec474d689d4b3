"""The upstream exchange beside aiohttp's client: CPU time of the same work, in one run."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from statistics import median
from typing import NamedTuple, cast

import aiohttp
import uvloop

from bench.process import Command, Server, running
from bench.settings import CONNECTIONS, KIB, MIB, Settings
from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.pool import Endpoint, Pool, PoolLimits
from pannier_gateway.upstream.request import Request, Streamed

PIECE = bytes(256 * KIB)
PATIENCE = Patience(first_byte=60.0)
SIGNED = {"host": "bench", "authorization": "x" * 150, "x-amz-date": "20260101T000000Z"}


class Work(NamedTuple):
    """`times` exchanges, `at_once` of them in flight; the body is `size` bytes."""

    method: str
    size: int
    times: int
    at_once: int

    @property
    def name(self) -> str:
        return f"{self.method} {self.size // KIB} KiB"


SMALL, LARGE = 8_000, 6
WORKS = (
    Work("GET", KIB, SMALL, CONNECTIONS),
    Work("PUT", KIB, SMALL, CONNECTIONS),
    Work("GET", 64 * MIB, LARGE, 1),
    Work("PUT", 64 * MIB, LARGE, 1),
)

One = Callable[[Work], Awaitable[None]]


class Origin(asyncio.Protocol):
    """Answers `GET /SIZE` with so many bytes, and takes any PUT: as little work as can be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owed = 0

    def data_received(self, data: bytes) -> None:
        if self._owed:
            self._take(len(data))
        elif data.startswith(b"GET"):
            size = int(data[5 : data.index(b" ", 5)])
            self._transport.write(answered(size) + bytes(size))
        else:
            head, _, body = data.partition(b"\r\n\r\n")
            self._owed = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self._take(len(body))

    def _take(self, size: int) -> None:
        self._owed -= size
        if not self._owed:
            self._transport.write(answered(0))


def answered(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\netag: e\r\ndate: x\r\ncontent-length: %d\r\n\r\n" % size


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", 0)
    print("http://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


def pieces(size: int) -> Iterator[bytes]:
    for start in range(0, size, len(PIECE)):
        yield PIECE[: size - start]


async def streamed(size: int) -> AsyncIterator[bytes]:
    for piece in pieces(size):
        yield piece


@asynccontextmanager
async def ours(server: Server) -> AsyncIterator[One]:
    """One exchange through the pool."""
    pool = Pool(Endpoint(*server.address), PoolLimits(connections=CONNECTIONS))
    headers = list(SIGNED.items())

    async def one(work: Work) -> None:
        body = bytes(work.size) if work.size <= KIB else Streamed(streamed(work.size), work.size)
        request = Request(
            work.method, f"/{work.size}", headers, b"" if work.method == "GET" else body
        )
        async with pool.exchange(request, PATIENCE) as answer:
            async for _ in answer.pieces():
                pass

    yield one
    pool.close()


@asynccontextmanager
async def theirs(server: Server) -> AsyncIterator[One]:
    """One request through aiohttp, set up for a relay."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=60),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
    )

    async def one(work: Work) -> None:
        body = bytes(work.size) if work.size <= KIB else streamed(work.size)
        put = work.method == "PUT"
        headers = SIGNED | ({"content-length": str(work.size)} if put else {})
        url = f"{server.url}/{work.size}"
        asked = session.request(work.method, url, headers=headers, data=body if put else None)
        async with asked as answer:
            async for _ in answer.content.iter_any():
                pass

    async with session:
        yield one


async def spent(work: Work, one: One) -> float:
    """CPU seconds of this process for one exchange."""
    left = iter(range(work.times))

    async def worker() -> None:
        for _ in left:
            await one(work)

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(work.at_once)))
    return (time.process_time() - began) / work.times


async def race(server: Server, rounds: int) -> None:
    async with ours(server) as our_one, theirs(server) as their_one:
        for work in WORKS:
            turns = [
                (await spent(work, our_one), await spent(work, their_one)) for _ in range(rounds)
            ]
            mine, other = (median(each) * 1e6 for each in zip(*turns, strict=True))
            ratio = median(a / b for a, b in turns)
            print(
                f"{work.name:14} ours {mine:9.1f} µs   aiohttp {other:9.1f} µs   ratio {ratio:.2f}"
            )


def main(settings: Settings) -> None:
    command = Command(
        "origin", [sys.executable, "-m", "bench.upstream", "serve"], "/", settings.server_cpu
    )
    settings.scratch.mkdir(parents=True, exist_ok=True)
    with running(command, settings.scratch / "origin.log") as server:
        uvloop.run(race(server, settings.rounds))


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        uvloop.run(serve())
    else:
        main(Settings.parse())
