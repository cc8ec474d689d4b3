"""Where a name leads: looked up for each connection, and anew once a connection led nowhere."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.errors import (
    ConnectFailed,
    ExchangeError,
    FirstByteTimedOut,
    KeptAliveDied,
    ProgressTimedOut,
)
from pannier_gateway.upstream.pool import Endpoint, Pool
from pannier_gateway.upstream.request import Request
from support.jumps import turns
from support.scripted import answer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop asks no resolver of Python's

NAME = "store.example"
OLD, NEW, NOBODY = "127.0.0.1", "127.0.0.2", "127.0.0.3"
GET = Request("GET", "/", [("host", NAME)])
PATIENCE = Patience(connect=20.0, first_byte=0.2, progress=0.2)


class Server:
    """Sends `reply` to each request; None: it closes."""

    def __init__(self, name: bytes) -> None:
        self.reply: bytes | None = answer("200 OK", name)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n") and self.reply is not None:
                writer.write(self.reply)
        writer.close()


class World:
    """Two servers at the same port of two addresses, and a name that leads to one of them."""

    def __init__(self, port: int, old: Server) -> None:
        self.old = old
        self.leads_to = OLD
        self.pool = Pool(Endpoint(NAME, port))

    async def ask(self) -> bytes:
        async with self.pool.exchange(GET, PATIENCE) as got:
            return await got.whole(9)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    old = Server(b"old")
    async with await asyncio.start_server(old, OLD, 0) as first:
        port = first.sockets[0].getsockname()[1]
        async with await asyncio.start_server(Server(b"new"), NEW, port):
            world = World(port, old)
            look_up = socket.getaddrinfo
            monkeypatch.setattr(  # a name of our own would take a resolver of our own
                socket,
                "getaddrinfo",
                lambda _, *more, **most: look_up(world.leads_to, *more, **most),
            )
            yield world
            world.pool.close()
            await turns()  # in which the servers hear of it


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (None, KeptAliveDied),
        (b"", FirstByteTimedOut),
        (answer("200 OK", b"old")[:-1], ProgressTimedOut),
    ],
)
async def test_after_a_connection_that_led_nowhere_the_next_goes_to_where_the_name_leads(
    world: World, reply: bytes | None, error: type[ExchangeError]
) -> None:
    await asyncio.gather(world.ask(), world.ask())
    assert world.pool.idle == 2

    world.old.reply, world.leads_to = reply, NEW
    with pytest.raises(error):
        await world.ask()

    assert await world.ask() == b"new"


async def test_where_nobody_let_us_in_the_name_is_looked_up_anew(world: World) -> None:
    world.leads_to = NOBODY
    with pytest.raises(ConnectFailed):
        await world.ask()

    world.leads_to = NEW

    assert await world.ask() == b"new"
