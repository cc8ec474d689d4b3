"""One request after the other on a connection: how long it stays, and what ends it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import pytest

from pannier_gateway.api.connection import KEEP_ALIVE_SECONDS, DataServer, Handler
from pannier_gateway.api.objectstore.replies import failure_body
from pannier_gateway.api.pages import any_host
from pannier_gateway.api.request import Request
from pannier_gateway.metrics import Requests
from support.jumps import jumps, turns
from support.wire import Wire, head

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LINGERING_SECONDS = 10.0  # aiohttp's


async def well(request: Request) -> bool:
    """Answers, and leaves the body where it is."""
    assert request.transport is not None
    request.transport.write(OK)
    return True


async def reading(request: Request) -> bool:
    """Answers once it has the body."""
    await request.content.read()
    return await well(request)


async def broken(_: Request) -> bool:
    raise ArithmeticError("a bug")


@asynccontextmanager
async def connected(
    handler: Handler, lifetime: float = inf
) -> AsyncIterator[tuple[DataServer, Wire]]:
    """A client of a server that answers by `handler`, over a connection for so many seconds."""
    server = DataServer(handler, failure_body, Requests())
    connections = server.of(any_host, lambda _: lifetime)
    listening = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
    async with listening:
        with Wire("http://127.0.0.1:{1}".format(*listening.sockets[0].getsockname())) as wire:
            yield server, wire
        await server.shutdown(0)


async def asked(wire: Wire) -> int:
    """The status of one more exchange, once the server waits for another."""
    answer = await asyncio.to_thread(wire.ask, "GET", "/")
    await turns()
    return answer.status


async def test_an_idle_connection_is_kept_from_its_last_answer_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(well) as (_, wire):
        with jumps(monkeypatch) as ahead:
            for _ in range(3):
                assert await asked(wire) == 200
                ahead.append(0.6 * KEEP_ALIVE_SECONDS)
                await turns()
            assert await asked(wire) == 200

            ahead.append(KEEP_ALIVE_SECONDS)
            assert await asyncio.to_thread(wire.rest) == b""


async def test_a_connection_that_has_aged_is_closed_at_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(well, lifetime=50) as (_, wire):
        with jumps(monkeypatch) as ahead:
            for _ in range(2):
                assert await asked(wire) == 200
                ahead.append(24)
                await turns()
            assert await asked(wire) == 200

            ahead.append(2)
            assert await asyncio.to_thread(wire.rest) == b""


async def test_a_connection_that_ages_while_it_answers_is_closed_behind_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aged = asyncio.Event()

    async def long(request: Request) -> bool:
        stays = await well(request)
        await aged.wait()
        return stays

    async with connected(long, lifetime=50) as (_, wire):
        with jumps(monkeypatch) as ahead:
            assert await asked(wire) == 200
            ahead.append(50)
            await turns()
            aged.set()
            assert await asyncio.to_thread(wire.rest) == b""


async def test_who_asks_nothing_more_after_a_long_upload_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected(reading) as (server, wire):
        wire.send(head("PUT", "/", {"content-length": "5"}) + b"by")
        while not any(each._request_in_progress for each in server.connections):
            await turns()
        with jumps(monkeypatch) as ahead:
            ahead.append(KEEP_ALIVE_SECONDS)
            await turns()
            wire.send(b"tes")
            assert (await asyncio.to_thread(wire.answer)).status == 200

            await turns()
            ahead.append(KEEP_ALIVE_SECONDS)
            assert await asyncio.to_thread(wire.rest) == b""


async def test_requests_are_read_on_once_there_is_room_for_them() -> None:
    async with connected(well) as (_, wire):
        wire.send(head("GET", "/") * 100)

        for _ in range(100):
            assert (await asyncio.to_thread(wire.answer)).status == 200


async def test_a_bug_is_logged_and_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with connected(broken) as (_, wire):
        wire.send(head("GET", "/"))

        assert await asyncio.to_thread(wire.rest) == b""
        (record,) = caplog.records
        assert (record.message, record.name) == ("connection failed", "pannier.api")
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ArithmeticError)


async def test_a_body_that_does_not_come_is_given_up_with_its_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "pannier.api")
    async with connected(well) as (_, wire):
        wire.send(head("PUT", "/", {"content-length": "5"}) + b"by")
        assert (await asyncio.to_thread(wire.answer)).status == 200
        await turns()
        with jumps(monkeypatch) as ahead:
            ahead.append(LINGERING_SECONDS)
            assert await asyncio.to_thread(wire.rest) == b""

    assert "a body is left unread" in caplog.messages


async def test_a_body_that_still_comes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(well) as (_, wire):
        wire.send(head("PUT", "/", {"content-length": "5"}) + b"by")
        assert (await asyncio.to_thread(wire.answer)).status == 200
        await turns()
        with jumps(monkeypatch) as ahead:
            ahead.append(LINGERING_SECONDS / 2)
            await turns()
            wire.send(b"tes")

            assert await asked(wire) == 200
