"""Bodies that move, however slowly: nothing limits how long they take as a whole."""

import asyncio
import threading
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.pool import Endpoint, Pool
from pannier_gateway.upstream.request import Buffer, Request, Streamed
from support.jumps import jumps, turns
from support.scripted import Peer, answer, serving

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # whose clock can be put ahead

PATIENCE = Patience(connect=20.0, first_byte=20.0, progress=20.0)
PAUSE = 15.0  # seconds between two bytes
SIZE = 10


async def test_a_body_may_come_and_go_byte_by_byte_for_longer_than_all_limits_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = threading.Semaphore(0)
    received: list[bytes] = []

    def drip(peer: Peer) -> None:
        request = peer.read_request()
        assert request is not None
        received.append(request.body)
        whole = answer("200 OK", b"y" * SIZE)
        peer.send(whole[:-SIZE])
        for _ in range(SIZE):
            more.acquire(timeout=20)
            peer.send(b"y")

    with serving(drip) as server, jumps(monkeypatch) as ahead:
        pool = Pool(Endpoint("127.0.0.1", urlsplit(server.url).port or 0))

        async def slowly() -> AsyncIterator[Buffer]:
            for _ in range(SIZE):
                await wait(ahead)
                yield b"x"

        request = Request("PUT", "/k", [("host", "h")], Streamed(slowly(), SIZE))
        async with pool.exchange(request, PATIENCE) as got:
            whole = asyncio.create_task(got.whole(SIZE))
            while not whole.done():
                await wait(ahead)
                owed = got.owed
                more.release()
                while got.owed == owed and not whole.done():
                    await turns()
            assert await whole == b"y" * SIZE
        pool.close()

    assert received == [b"x" * SIZE]


async def wait(ahead: list[float]) -> None:
    """Time passes in which nothing moves."""
    await turns()
    ahead.append(PAUSE)
    await turns()
