"""How requests of one connection end, and connections with them: in turn, whole, or not at all."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

from pannier_gateway.api import patience, turns
from pannier_gateway.api.connection import Connection, DataServer
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Reading
from pannier_gateway.stores.memory import MemoryStore
from support.doorstep import serving
from support.gateway import running_gateway
from support.hostile import Altered, Wrapped
from support.wire import Wire, exchange, head

PATH = "/v1/objects/attachments/_/k"
LARGE = bytes(range(256)) * (32 << 10)  # 8 MiB, more than sockets hold
LINES = b"".join(b"line %d of a text\n" % number for number in range(1 << 20))


async def test_who_sends_many_requests_at_once_leaves_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns_so_far, answered = [0], Counter[int]()
    answering = Connection.answered

    async def recorded(connection: Connection, *asked: object) -> bool:
        answered[turns_so_far[0]] += 1
        return await answering(connection, *asked)  # type: ignore[arg-type]

    def tick() -> None:
        turns_so_far[0] += 1
        asyncio.get_running_loop().call_soon(tick)

    tick()
    monkeypatch.setattr(Connection, "answered", recorded)
    async with serving(MemoryStore()) as url:
        with Wire(url) as wire:
            # from within the loop, so that all has arrived before any of it is read
            wire.send(head("GET", "/health") * 500)
            for _ in range(500):
                assert (await asyncio.to_thread(wire.answer)).status == 200

    assert answered.total() == 500
    assert max(answered.values()) <= 2


class Odd(BaseException):
    """What only strange libraries raise."""


class OddStore(Wrapped):
    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> NoReturn:
        raise Odd(path)


async def test_whatever_a_request_dies_of_its_connection_ends_with_it() -> None:
    died: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: died.append(told))
    async with serving(OddStore(MemoryStore())) as url:
        with Wire(url) as wire:
            wire.send(head("GET", PATH))

            assert await asyncio.to_thread(wire.rest) == b""


class LengthlessStore(Wrapped):
    """Does not know how large its objects are decoded."""

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        async with self._store.open(path, ahead) as reading:
            attributes = replace(reading.record.attributes, original_size=None)
            altered = Altered(reading, self.outgoing)
            altered.record = replace(reading.record, attributes=attributes)
            yield altered


def read_on(sock: socket.socket) -> None:
    """Read to what looks like the end."""
    while sock.recv(1 << 20):
        pass


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_what_is_cut_at_the_end_of_a_drain_does_not_look_whole(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = DataServer.shutdown
    monkeypatch.setattr(DataServer, "shutdown", lambda server, _: ending(server, 0.1))
    async with serving(LengthlessStore(MemoryStore())) as url:
        sent = {"content-type": "text/plain"}
        assert (await asyncio.to_thread(exchange, url, "PUT", PATH, sent, LINES)).status == 200
        wire = Wire(url)
        wire.send(f"GET {PATH} HTTP/{version}\r\nhost: x\r\n\r\n".encode())
        await asyncio.to_thread(wire.sock.recv, 1, socket.MSG_PEEK)

    with wire, pytest.raises(ConnectionResetError):
        await asyncio.to_thread(read_on, wire.sock)


async def test_who_takes_no_refusals_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (patience, turns):
        monkeypatch.setattr(module, "PROGRESS_SECONDS", 0.2)
    async with serving(MemoryStore()) as url:
        with Wire(url) as wire:
            wire.sock.setblocking(False)
            asked = head("PATCH", PATH) * 500
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(flood(wire.sock, asked), 20)


async def flood(sock: socket.socket, asked: bytes) -> None:
    """Ask on and on, and take no answer. Raises ConnectionError once nobody listens."""
    while True:
        await asyncio.get_running_loop().sock_sendall(sock, asked)


def test_what_was_sent_behind_a_download_is_answered_whole_before_the_end(tmp_path: Path) -> None:
    path = "/v1/objects/media/_/large"
    with running_gateway(tmp_path / "data", extra_args=["--drain", "20"]) as gateway:
        exchange(gateway.url, "PUT", path, body=LARGE)
        with Wire(gateway.url) as wire:
            wire.send(head("GET", path) * 2)
            wire.sock.recv(1, socket.MSG_PEEK)

            gateway.process.terminate()

            assert wire.answer().body == LARGE
            assert wire.answer().body == LARGE
        assert gateway.process.wait(5) == 0
