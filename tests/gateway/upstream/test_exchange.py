"""The exchange over real sockets, with servers that do exactly what is asked here."""

import asyncio
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

import pytest

from pannier_gateway.upstream.connection import BUFFER, Answer, Patience
from pannier_gateway.upstream.errors import (
    AnswerCut,
    AnswerMalformed,
    AnswerTooLong,
    ConnectFailed,
    ConnectTimedOut,
    ExchangeError,
    FirstByteTimedOut,
    KeptAliveDied,
    NoAnswer,
    PoolExhausted,
    ProgressTimedOut,
)
from pannier_gateway.upstream.pool import LIMITS, Endpoint, Pool, PoolLimits
from pannier_gateway.upstream.request import Buffer, Request, Streamed
from support.pools import in_use
from support.scripted import Peer, ScriptedServer, answer, serving

HASTE = Patience(connect=5.0, first_byte=0.05, progress=0.05, free_connection=0.05)
CALM = Patience(connect=5.0, first_byte=20.0, progress=20.0, free_connection=20.0)
GET = Request("GET", "/k", [("host", "h")])
MIB = 1024 * 1024
NOISE = bytes(range(256)) * (MIB // 256) * 3


def endpoint(server: ScriptedServer) -> Endpoint:
    parts = urlsplit(server.url)
    return Endpoint(parts.hostname or "", parts.port or 0)


def pool_of(
    server: ScriptedServer, limits: PoolLimits = LIMITS
) -> AbstractAsyncContextManager[Pool]:
    return in_use(Pool(endpoint(server), limits))


async def ask(pool: Pool, request: Request = GET, patience: Patience = CALM) -> tuple[int, bytes]:
    async with pool.exchange(request, patience) as got:
        return got.status, await got.whole(1 << 30)


def streamed(*pieces: Buffer, length: int | None = None) -> Streamed:
    async def each() -> AsyncIterator[Buffer]:
        for piece in pieces:
            yield piece

    return Streamed(each(), length)


def put(body: Buffer | Streamed, *, expect: bool = False) -> Request:
    return Request("PUT", "/k", [("host", "h")], body, expect)


# One exchange


async def test_a_request_stands_on_the_wire_as_it_was_given() -> None:
    with serving(answer()) as server:
        async with pool_of(server) as pool:
            await ask(pool, Request("GET", "/%2e%2e/a?b=%20", [("host", "h:1"), ("x-a", "b")]))
            await ask(pool, put(b"body"))

        first, second = server.requests
        assert (first.method, first.target) == ("GET", "/%2e%2e/a?b=%20")
        assert first.headers == {"host": "h:1", "x-a": "b"}
        assert second.headers == {"host": "h", "content-length": "4"}
        assert second.body == b"body"


@pytest.mark.parametrize("text", ["a\r\nb: c", "a\nb", "a\rb", "a\0"])
def test_no_header_breaks_out_of_its_line(text: str) -> None:
    for request in (Request("GET", "/", [("x", text)]), Request("GET", text, [])):
        with pytest.raises(ValueError, match="more than a line"):
            request.head()


async def test_a_large_answer_comes_in_pieces_of_one_buffer() -> None:
    with serving(answer("200 OK", NOISE)) as server:
        async with pool_of(server) as pool, pool.exchange(GET, CALM) as got:
            pieces = [(len(piece), bytes(piece)) async for piece in got.pieces()]

    assert b"".join(data for _, data in pieces) == NOISE
    assert max(size for size, _ in pieces) <= BUFFER


async def test_a_reader_that_waits_holds_the_server_back() -> None:
    sent = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer("200 OK", NOISE * 20))
        sent.set()

    with serving(script) as server:
        async with pool_of(server) as pool, pool.exchange(GET, CALM) as got:
            pieces = got.pieces()
            first = bytes(await anext(pieces))
            assert not await asyncio.to_thread(sent.wait, 0.2)
            rest = [bytes(piece) async for piece in pieces]

    assert first + b"".join(rest) == NOISE * 20


@pytest.mark.parametrize("length", [None, 3 * MIB])
async def test_a_streamed_body_arrives_whole(length: int | None) -> None:
    pieces = [NOISE[start : start + 300_000] for start in range(0, len(NOISE), 300_000)]
    with serving(answer()) as server:
        async with pool_of(server) as pool:
            await ask(pool, put(streamed(*pieces, b"", length=length)))

    assert server.request.body == NOISE
    assert ("content-length" in server.request.headers) == (length is not None)


async def test_the_buffer_of_a_piece_may_be_used_again_for_the_next() -> None:
    buffer = bytearray(MIB)

    async def pieces() -> AsyncIterator[Buffer]:
        for number in range(20):
            buffer[:] = bytes([number]) * MIB
            yield memoryview(buffer)

    with serving(answer()) as server:
        async with pool_of(server) as pool:
            await ask(pool, put(Streamed(pieces(), 20 * MIB)))

    assert server.request.body == b"".join(bytes([number]) * MIB for number in range(20))


@pytest.mark.parametrize("length", [4, 6])
async def test_a_body_of_another_length_than_announced_ends_the_connection(length: int) -> None:
    def script(peer: Peer) -> None:
        head = peer.read_head()
        assert head is not None
        assert head.headers["content-length"] == str(length)
        assert len(peer.wait_for_end()) < length

    with serving(script) as server:
        async with pool_of(server) as pool:
            with pytest.raises(ValueError, match=f"body of {length} bytes"):
                await ask(pool, put(streamed(b"he", b"llo", length=length)))
            assert pool.busy == pool.idle == 0


async def test_what_a_body_raises_reaches_who_asked_and_ends_the_connection() -> None:
    class Broke(Exception):
        pass

    async def pieces() -> AsyncIterator[Buffer]:
        yield b"x"
        raise Broke

    with serving(lambda peer: peer.wait_for_end()) as server:
        async with pool_of(server) as pool:
            with pytest.raises(Broke):
                await ask(pool, put(Streamed(pieces(), 10)))
            assert pool.busy == pool.idle == 0


# Connections


async def test_one_connection_serves_many_exchanges() -> None:
    with serving(answer("200 OK", b"x")) as server:
        async with pool_of(server) as pool:
            for turn in range(5):
                async with pool.exchange(GET, CALM) as got:
                    assert got.reused == (turn > 0)
                    assert await got.whole(9) == b"x"

    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [answer("200 OK", b"x", "connection: close"), b"HTTP/1.1 200 OK\r\n\r\nx"],
    ids=["closing", "no length"],
)
async def test_a_server_that_closes_is_connected_to_anew(reply: bytes) -> None:
    with serving((reply,)) as server:
        async with pool_of(server) as pool:
            assert [await ask(pool) for _ in range(2)] == [(200, b"x")] * 2

    assert server.connections == 2


async def test_what_is_left_of_an_answer_is_never_taken_for_the_next() -> None:
    with serving(answer("200 OK", NOISE)) as server:
        async with pool_of(server) as pool:
            async with pool.exchange(GET, CALM) as got:
                await anext(got.pieces())
            async with pool.exchange(GET, CALM) as got:
                assert got.reused is False
                assert await got.whole(len(NOISE)) == NOISE


async def test_a_cancelled_exchange_gives_back_its_place() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        peer.wait_for_end()

    with serving(script, answer()) as server:
        async with pool_of(server, PoolLimits(connections=1)) as pool:
            task = asyncio.create_task(ask(pool))
            await asyncio.to_thread(asked.wait)
            task.cancel()
            await asyncio.wait([task])

            assert task.cancelled()
            assert (await ask(pool))[0] == 200


async def test_an_idle_connection_is_closed_when_its_time_is_over() -> None:
    closed = threading.Event()

    def script(peer: Peer) -> None:
        server.answering([answer()])(peer)
        peer.wait_for_end()
        closed.set()

    with serving(script) as server:
        async with pool_of(server, PoolLimits(idle=0.05)) as pool:
            await ask(pool)
            assert pool.idle == 1
            assert await asyncio.to_thread(closed.wait, 10)
            assert pool.idle == 0


async def test_a_connection_beyond_its_age_is_not_kept() -> None:
    with serving(answer()) as server:
        async with pool_of(server, PoolLimits(age=0.0)) as pool:
            await ask(pool)
            assert pool.idle == 0


async def test_who_finds_all_connections_busy_waits_and_then_hears_of_it() -> None:
    with serving(answer("200 OK", b"x")) as server:
        async with pool_of(server, PoolLimits(connections=1)) as pool:
            async with pool.exchange(GET, CALM):
                with pytest.raises(PoolExhausted):
                    await ask(pool, GET, HASTE)
                waiting = asyncio.create_task(ask(pool))
                await asyncio.sleep(0)
            assert await waiting == (200, b"x")


async def test_a_place_that_came_to_somebody_who_has_left_goes_to_the_next() -> None:
    with serving(answer("200 OK", b"x")) as server:
        async with pool_of(server, PoolLimits(connections=1)) as pool:
            async with pool.exchange(GET, CALM):
                leaving, staying = (asyncio.create_task(ask(pool)) for _ in range(2))
                await asyncio.sleep(0)
            leaving.cancel()  # who does not know yet that it is its turn

            assert await staying == (200, b"x")
            assert leaving.cancelled()
            assert pool.busy == 0


# Phases


async def test_nobody_there_is_a_failed_connect() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        pool = Pool(Endpoint("127.0.0.1", unheard.getsockname()[1]))
        with pytest.raises(ConnectFailed):
            await ask(pool)
    with pytest.raises(ConnectFailed):
        await ask(Pool(Endpoint("name.invalid", 80)))


async def test_a_server_that_lets_nobody_in_times_out_at_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        crowd = [socket.socket() for _ in range(4)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        with pytest.raises(ConnectTimedOut):
            await ask(Pool(Endpoint(*full.getsockname())), GET, HASTE._replace(connect=0.1))
        for each in crowd:
            each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel can be told")
async def test_the_kernel_ends_a_connection_that_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        pool = Pool(Endpoint(*deaf.getsockname()))
        connection = await pool.take(CALM._replace(progress=0.1))
        request = Request("PUT", "/k", [("host", "h")], bytes(32 * MIB))

        with pytest.raises(NoAnswer, match="timed out"):
            await connection.ask(request, CALM)
        pool.give_back(connection)


async def test_a_server_without_tls_is_a_failed_connect() -> None:
    with serving(lambda peer: peer.send(b"HTTP/1.1 400 Bad\r\n\r\n")) as server:
        place = endpoint(server)._replace(tls=ssl.create_default_context)
        with pytest.raises(ConnectFailed):
            await ask(Pool(place))


def silent(peer: Peer) -> None:
    peer.read_request()
    peer.wait_for_end()


def resetting(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


def leaving(peer: Peer) -> None:
    peer.read_request()


async def test_a_server_that_never_answers_times_out_at_the_first_byte() -> None:
    with serving(silent) as server:
        async with pool_of(server) as pool:
            with pytest.raises(FirstByteTimedOut):
                await ask(pool, GET, HASTE)
            assert pool.busy == pool.idle == 0


def stalling(*pieces: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_head()
        for piece in pieces:
            peer.send(piece)
        peer.wait_for_end()

    return script


async def test_an_answer_that_stalls_times_out_at_progress() -> None:
    with serving(stalling(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")) as server:
        async with pool_of(server) as pool, pool.exchange(GET, HASTE._replace(first_byte=9)) as got:
            pieces = got.pieces()
            assert await anext(pieces) == b"ab"
            with pytest.raises(ProgressTimedOut):
                await anext(pieces)
            assert got.owed == 7


async def test_a_server_that_takes_no_more_of_a_body_times_out_at_progress() -> None:
    never = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_head()
        never.wait(10)

    with serving(script) as server:
        async with pool_of(server) as pool:
            with pytest.raises(ProgressTimedOut):
                await ask(pool, put(NOISE * 10), HASTE)
            never.set()


@pytest.mark.parametrize("script", [leaving, resetting])
async def test_a_fresh_connection_that_ends_is_no_answer(script: Callable[[Peer], None]) -> None:
    with serving(script) as server:
        async with pool_of(server) as pool:
            with pytest.raises(NoAnswer) as caught:
                await ask(pool)
            assert not isinstance(caught.value, KeptAliveDied)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1024)
        await asyncio.sleep(0)


@pytest.mark.parametrize("length", [None, 1 << 40])
async def test_a_connection_that_ends_within_an_upload_is_no_answer(length: int | None) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.reset()

    with serving(script) as server:
        async with pool_of(server) as pool:
            with pytest.raises(NoAnswer):
                await ask(pool, put(Streamed(endless(), length)))


@pytest.mark.parametrize("end", [leaving, resetting])
async def test_a_kept_connection_that_ends_is_told_apart_and_nothing_is_sent_again(
    end: Callable[[Peer], None],
) -> None:
    def script(peer: Peer) -> None:
        server.answering([answer()])(peer)
        end(peer)

    with serving(script) as server:
        async with pool_of(server) as pool:
            await ask(pool)
            with pytest.raises(KeptAliveDied):
                await ask(pool, put(streamed(b"body", length=4)))

    assert server.connections == 1


async def test_a_connection_that_ended_while_idle_is_not_used() -> None:
    gone = threading.Event()

    def script(peer: Peer) -> None:
        server.answering([answer()])(peer)
        peer.sock.shutdown(socket.SHUT_RDWR)
        gone.set()

    with serving(script, answer()) as server:
        async with pool_of(server) as pool:
            await ask(pool)
            await asyncio.to_thread(gone.wait)
            async with asyncio.timeout(10):
                while pool.idle:  # noqa: ASYNC110  # it is the loop's turns that notice
                    await asyncio.sleep(0)
            assert (await ask(pool))[0] == 200


def sending(*pieces: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_request()
        for piece in pieces:
            peer.send(piece)

    return script


async def test_a_cut_body_gives_its_bytes_and_then_says_what_it_owes() -> None:
    reply = answer("200 OK", NOISE)
    with serving(sending(reply[:-1000])) as server:
        async with pool_of(server) as pool, pool.exchange(GET, CALM) as got:
            data, error = await until_it_ends(got)

    assert data == NOISE[:-1000]
    assert isinstance(error, AnswerCut)
    assert error.owed == 1000


async def until_it_ends(got: Answer) -> tuple[bytes, ExchangeError | None]:
    """What comes of a body, and what ends it."""
    data = bytearray()
    try:
        async for piece in got.pieces():
            data += piece
    except ExchangeError as error:
        return bytes(data), error
    return bytes(data), None


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab"]
)
async def test_an_answer_that_breaks_off_is_cut(reply: bytes) -> None:
    with serving(sending(reply)) as server:
        async with pool_of(server) as pool:
            with pytest.raises(AnswerCut):
                await ask(pool)


async def test_an_answer_that_is_none_is_malformed() -> None:
    with serving(stalling(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        async with pool_of(server) as pool:
            with pytest.raises(AnswerMalformed, match="no answer in HTTP"):
                await ask(pool)
            assert pool.busy == pool.idle == 0


async def test_bytes_after_the_answer_end_the_connection() -> None:
    with serving((answer("200 OK", b"x") + b"garbage",), (answer("200 OK", b"y"),)) as server:
        async with pool_of(server) as pool:
            with pytest.raises(AnswerMalformed):
                await ask(pool)
            assert await ask(pool) == (200, b"y")


async def test_an_answer_longer_than_wanted_is_not_kept() -> None:
    with serving(answer("200 OK", NOISE)) as server:
        async with pool_of(server) as pool, pool.exchange(GET, CALM) as got:
            with pytest.raises(AnswerTooLong):
                await got.whole(1000)


# Answers before the body has been sent


async def early(server: ScriptedServer, request: Request) -> Answer:
    async with pool_of(server) as pool:
        async with pool.exchange(request, CALM) as got:
            assert await got.whole(99) == b"no"
        assert pool.busy == pool.idle == 0
        return got


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_answer_ends_the_sending_of_a_body_that_goes_on(chunked: bool) -> None:
    never = asyncio.Event()

    async def pieces() -> AsyncIterator[Buffer]:
        yield b"x"
        await never.wait()

    body = Streamed(pieces(), None if chunked else 10)
    with serving(stalling(answer("503 Slow Down", b"no"))) as server:
        got = await early(server, put(body))

    assert got.status == 503
    assert got.early


@pytest.mark.parametrize("answered", [True, False])
async def test_a_body_that_is_read_no_further_is_closed_by_then(answered: bool) -> None:
    """Not some time later, by the loop."""
    begun, over, closed = asyncio.Event(), threading.Event(), False

    async def pieces() -> AsyncIterator[Buffer]:
        nonlocal closed
        try:
            while True:
                begun.set()
                yield NOISE
        finally:
            closed = True

    def script(peer: Peer) -> None:
        peer.read_head()
        if answered:
            peer.send(answer("503 Slow Down", b"no"))
        over.wait(20)

    body = Streamed(pieces())  # nor for want of anybody who holds it
    with serving(script) as server:
        async with pool_of(server) as pool:
            asking = asyncio.create_task(ask(pool, put(body)))
            await begun.wait()
            if not answered:
                asking.cancel()
            await asyncio.wait([asking])
            over.set()

    assert closed


async def test_an_answer_to_a_whole_body_is_not_early_though_its_source_has_more_to_do() -> None:
    never = asyncio.Event()

    async def pieces() -> AsyncIterator[Buffer]:
        yield b"xyz"
        await never.wait()

    with serving(answer("200 OK", b"no")) as server:
        async with pool_of(server) as pool:
            async with pool.exchange(put(Streamed(pieces(), 3)), CALM) as got:
                assert await got.whole(99) == b"no"

            assert not got.early
            assert pool.idle == 1


async def test_an_answer_ends_the_sending_of_a_body_that_nobody_takes() -> None:
    with serving(stalling(answer("403 Forbidden", b"no"))) as server:
        got = await early(server, put(NOISE * 10))

    assert got.status == 403
    assert got.early


# Expect: 100-continue


def consenting(consent: Iterable[bytes], reply: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        head = peer.read_head()
        assert head is not None
        assert head.headers["expect"] == "100-continue"
        for piece in consent:
            peer.send(piece)
        assert peer.read_body(head) == b"body"
        peer.send(reply)
        peer.wait_for_end()

    return script


async def test_a_body_follows_the_servers_consent() -> None:
    with serving(consenting([b"HTTP/1.1 100 Continue\r\n\r\n"], answer())) as server:
        async with pool_of(server) as pool:
            assert (await ask(pool, put(b"body", expect=True)))[0] == 200
            assert pool.idle == 1


async def test_a_server_that_knows_no_consent_gets_the_body_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pannier_gateway.upstream.connection.CONSENT_SECONDS", 0.02)
    with serving(consenting([], answer())) as server:
        async with pool_of(server) as pool:
            assert (await ask(pool, put(b"body", expect=True)))[0] == 200


async def test_no_byte_of_a_refused_body_is_sent() -> None:
    taken: list[bytes] = []

    async def pieces() -> AsyncIterator[Buffer]:
        taken.append(b"")
        yield b"body"

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(answer("412 Precondition Failed", b"no"))
        assert peer.wait_for_end() == b""

    with serving(script) as server:
        got = await early(server, put(Streamed(pieces(), 4), expect=True))

    assert got.status == 412
    assert taken == []
