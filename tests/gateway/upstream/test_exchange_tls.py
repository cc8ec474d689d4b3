"""The exchange over TLS, with and without client certificates."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import ref

import pytest

from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.encryption import Encryption
from pannier_gateway.upstream.errors import AnswerCut, NoAnswer, TlsFailed
from pannier_gateway.upstream.pool import Endpoint, Pool
from pannier_gateway.upstream.request import Request, Streamed
from support.certificates import Authority, client_context, server_context
from support.pools import in_use
from support.scripted import Peer, ScriptedServer, answer, serving

CALM = Patience(connect=20.0, first_byte=20.0, progress=20.0)
NOISE = bytes(range(256)) * 12_000
GET = Request("GET", "/k", [("host", "h")])
GARBLED = b"\x17\x03\x03\x00\x30" + bytes(48)  # a record that nobody has encrypted


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority().issue(tmp_path_factory.mktemp("tls"))


def pool_of(
    server: ScriptedServer, context: ssl.SSLContext, server_name: str | None = None
) -> AbstractAsyncContextManager[Pool]:
    port = urlsplit(server.url).port or 0
    return in_use(Pool(Endpoint("127.0.0.1", port, lambda: context, server_name)))


async def ask(pool: Pool) -> bytes:
    async with pool.exchange(GET, CALM) as got:
        return await got.whole(99)


async def test_bodies_of_any_size_come_through_both_ways_on_one_connection(identity: Path) -> None:
    tls = server_context(identity, demanding=True)
    with serving((answer("200 OK", NOISE), answer("200 OK", b"x")), tls=tls) as server:
        async with pool_of(server, client_context(identity, showing=True)) as pool:
            async with pool.exchange(GET, CALM) as got:
                assert await got.whole(len(NOISE)) == NOISE
            async with pool.exchange(Request("PUT", "/k", [("host", "h")], NOISE), CALM) as got:
                assert got.reused
                assert await got.whole(9) == b"x"

    assert server.requests[1].body == NOISE


async def test_a_server_that_nobody_vouches_for_fails_the_handshake(
    identity: Path, tmp_path: Path
) -> None:
    stranger = Authority().issue(tmp_path)
    with serving(answer(), tls=server_context(identity, demanding=False)) as server:
        async with pool_of(server, client_context(stranger, showing=False)) as pool:
            with pytest.raises(TlsFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await ask(pool)


async def test_a_server_of_another_name_fails_the_handshake(identity: Path) -> None:
    with serving(answer(), tls=server_context(identity, demanding=False)) as server:
        context = client_context(identity, showing=False)
        async with pool_of(server, context, server_name="store.example") as pool:
            with pytest.raises(TlsFailed, match=r"store\.example"):
                await ask(pool)


async def test_a_server_that_misses_a_certificate_says_so_in_the_error(identity: Path) -> None:
    with serving(answer(), tls=server_context(identity, demanding=True)) as server:
        async with pool_of(server, client_context(identity, showing=False)) as pool:
            with pytest.raises((TlsFailed, NoAnswer)):  # TLS 1.3: it shows after the handshake
                await ask(pool)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1024)
        await asyncio.sleep(0)


def garbling(peer: Peer) -> None:
    peer.read_head()
    os.write(peer.sock.fileno(), GARBLED)
    peer.wait_for_end()


@pytest.mark.parametrize("length", [None, 1 << 40])
async def test_tls_that_breaks_within_an_upload_is_no_answer(
    identity: Path, length: int | None
) -> None:
    put = Request("PUT", "/k", [("host", "h")], Streamed(endless(), length))
    with serving(garbling, tls=server_context(identity, demanding=False)) as server:
        async with pool_of(server, client_context(identity, showing=False)) as pool:
            with pytest.raises(NoAnswer, match="SSL"):
                async with pool.exchange(put, CALM):
                    pass


@pytest.mark.parametrize("said", [True, False])
async def test_an_answer_of_any_length_is_whole_if_its_end_is_said_in_tls(
    identity: Path, said: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nbody")
        if said:
            assert isinstance(peer.sock, ssl.SSLSocket)
            peer.sock.unwrap()

    with serving(script, tls=server_context(identity, demanding=False)) as server:
        async with pool_of(server, client_context(identity, showing=False)) as pool:
            if said:
                assert await ask(pool) == b"body"
            else:
                with pytest.raises(AnswerCut):
                    await ask(pool)


async def test_what_tls_holds_goes_with_the_connection(
    identity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Encryption] = []

    def noted(*given: Any) -> Encryption:
        made.append(Encryption(*given))
        return made[-1]

    monkeypatch.setattr("pannier_gateway.upstream.pool.Encryption", noted)
    with serving(answer(), tls=server_context(identity, demanding=False)) as server:
        async with pool_of(server, client_context(identity, showing=False)) as pool:
            await ask(pool)
            (encryption,) = made
            held = ref(encryption._tls)
            assert held() is not None

    assert held() is None
    assert repr(encryption) == "<Encryption, over>"
