"""TLS that keeps little: how much of a connection it holds, however much comes and goes."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pannier_gateway.upstream.connection import BUFFER, FEW, LESS, Buffers, Patience
from pannier_gateway.upstream.encryption import RECORD, SENT, SIP, Encryption
from pannier_gateway.upstream.pool import Endpoint, Pool
from pannier_gateway.upstream.request import Buffer, Request, Streamed
from support.certificates import Authority, client_context, server_context
from support.pools import in_use
from support.scripted import Peer, ScriptedServer, answer, serving

CALM = Patience(connect=20.0, first_byte=20.0, progress=20.0)
GET = Request("GET", "/k", [("host", "h")])
MIB = 1024 * 1024
NOISE = bytes(range(256)) * (MIB // 256) * 3
OVERHEAD = 1024  # bytes of TLS itself, in a sip of some records

Held = list[int]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority().issue(tmp_path_factory.mktemp("tls"))


class Gauge:
    """A buffer of TLS that notes how full it has been: it never shrinks, so it takes as much."""

    def __init__(self, buffer: ssl.MemoryBIO, levels: list[int]) -> None:
        self._buffer = buffer
        self._levels = levels

    @property
    def pending(self) -> int:
        return self._buffer.pending

    def read(self) -> bytes:
        self._levels.append(self.pending)
        return self._buffer.read()

    def write(self, data: memoryview) -> int:
        written = self._buffer.write(data)
        self._levels.append(self.pending)
        return written


def gauged(levels: Held, *given: Any) -> Encryption:
    made = Encryption(*given)
    for name in ("_incoming", "_outgoing"):
        setattr(made, name, Gauge(getattr(made, name), levels))
    return made


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """What the buffers of TLS have held, all along."""
    levels: Held = [0]
    monkeypatch.setattr("pannier_gateway.upstream.pool.Encryption", partial(gauged, levels))
    return levels


def pool_of(server: ScriptedServer, identity: Path) -> AbstractAsyncContextManager[Pool]:
    context = client_context(identity, showing=True)
    return in_use(Pool(Endpoint("127.0.0.1", urlsplit(server.url).port or 0, lambda: context)))


async def test_tls_keeps_no_more_of_a_long_answer_than_a_sip(identity: Path, held: Held) -> None:
    tls = server_context(identity, demanding=True)
    with serving(answer("200 OK", NOISE), tls=tls) as server:
        async with pool_of(server, identity) as pool, pool.exchange(GET, CALM) as got:
            body = b"".join([bytes(piece) async for piece in got.pieces()])

    assert body == NOISE
    assert SENT < max(held) <= SIP + RECORD


async def test_tls_keeps_no_more_of_a_long_request_than_it_sends_at_once(
    identity: Path, held: Held
) -> None:
    async def pieces() -> AsyncIterator[Buffer]:
        for start in range(0, len(NOISE), MIB):
            yield memoryview(NOISE)[start : start + MIB]

    put = Request("PUT", "/k", [("host", "h")], Streamed(pieces(), len(NOISE)))
    with serving(answer(), tls=server_context(identity, demanding=True)) as server:
        async with pool_of(server, identity) as pool, pool.exchange(put, CALM) as got:
            assert got.status == 200

    assert server.request.body == NOISE
    assert RECORD < max(held) <= SENT + OVERHEAD


class Client(asyncio.BufferedProtocol):
    """Sends, and knows whether it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(bytearray(RECORD + SIP))

    def pause_writing(self) -> None:
        self.may.clear()

    def resume_writing(self) -> None:
        self.may.set()


async def test_what_the_kernel_does_not_take_waits_as_it_is(identity: Path) -> None:
    held: Held = [0]
    attentive, received = threading.Event(), threading.Event()
    head = b"PUT /k HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (8 * len(NOISE))

    def script(peer: Peer) -> None:
        attentive.wait(20)
        request = peer.read_request()
        if request is not None and request.body == NOISE * 8:
            received.set()

    with serving(script, tls=server_context(identity, demanding=False)) as server:
        client, context = Client(), client_context(identity, showing=False)
        buffer = memoryview(bytearray(BUFFER))
        transport, encryption = await asyncio.get_running_loop().create_connection(
            lambda: gauged(held, client, context, "127.0.0.1", buffer),
            "127.0.0.1",
            urlsplit(server.url).port or 0,
        )
        await encryption.agree()
        encryption.set_write_buffer_limits(high=0, low=0)
        encryption.write(head + NOISE * 8)
        assert not client.may.is_set()
        assert encryption.get_write_buffer_size() > len(NOISE)
        attentive.set()
        await client.may.wait()
        assert encryption.get_write_buffer_size() == 0
        assert await asyncio.to_thread(received.wait, 20)
        transport.abort()

    assert max(held) <= SENT + OVERHEAD


def test_a_few_long_bodies_get_large_buffers_and_further_ones_less() -> None:
    buffers = Buffers()

    taken = [buffers.take() for _ in range(FEW + 2)]

    assert [len(each) for each in taken] == [BUFFER] * FEW + [LESS] * 2
    for each in taken:
        buffers.give(each)
    again = buffers.take()
    assert any(again.obj is each.obj for each in taken)
    assert len(again) == BUFFER
