"""Connections: who sends no more still reads, and what never becomes a request is refused."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from math import inf
from socket import IPPROTO_TCP, SHUT_WR, SO_LINGER, SOL_SOCKET, TCP_NODELAY
from struct import pack

import pytest
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from pannier_gateway.api import connection
from pannier_gateway.api.connection import Connection
from pannier_gateway.api.head import head_bytes
from pannier_gateway.api.incoming import IncomingBody
from pannier_gateway.api.narrow import WIDTH
from pannier_gateway.api.patience import PROGRESS_SECONDS, Patience
from pannier_gateway.drain import Drain
from pannier_gateway.metrics import Metrics
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Buffer, Reading
from pannier_gateway.stores.memory import MemoryStore
from support.doorstep import serving
from support.gateway import Gateway
from support.hostile import Wrapped
from support.jumps import jumps, turns
from support.wire import Answer, Wire, chunked, exchange, head

LARGE = bytes(range(256)) * (8 << 12)  # 8 MiB, more than sockets hold
PATH = "/v1/objects/attachments/_/k"
CHUNKED = {"transfer-encoding": "chunked"}
WAITING = {"expect": "100-continue"}
LENGTH = {"content-length": "5"}
RESET = pack("ii", 1, 0)


# aiohttp


def test_aiohttp_has_what_connections_lean_on() -> None:
    slots = {name for kind in RequestHandler.__mro__ for name in getattr(kind, "__slots__", ())}

    assert slots >= {"_lingering_time", "_loop", "_max_msg_queue_size", "_message_tail"}
    assert slots >= {"_messages", "_parser", "_reading_paused", "_request_count", "_upgraded"}
    assert slots >= {"_buffer_paused", "_close", "_force_close", "_msg_queue_resume_size"}
    assert slots >= {"_keepalive_handle", "_keepalive_timeout", "_next_keepalive_close_time"}
    assert slots >= {"_request_in_progress", "_task_handler", "_waiter"}
    assert callable(RequestHandler.resume_reading)
    assert callable(RequestHandler._process_keepalive)
    assert callable(RequestHandler._resume_reading_if_drained)
    assert _ErrInfo.__match_args__ == ("status", "exc", "message")
    assert asyncio.iscoroutinefunction(RequestHandler.start)


# Half-closed


@pytest.mark.parametrize(
    "sent",
    [
        head("PUT", "{}", body=b"bytes") + b"bytes",
        head("PUT", "{}", CHUNKED) + chunked(b"by", b"tes"),
        head("PUT", "{}", WAITING, b"bytes") + b"bytes",
    ],
    ids=["sized", "chunked", "waiting"],
)
def test_who_has_sent_an_upload_whole_and_no_more_gets_an_answer(
    wire: Wire, plain: str, sent: bytes
) -> None:
    wire.send(sent.replace(b"{}", (plain + "k").encode()))
    wire.sock.shutdown(SHUT_WR)

    assert wire.answer().status == 200
    assert wire.rest() == b""
    assert exchange(wire.url, "GET", plain + "k").body == b"bytes"


def test_who_sends_no_more_reads_everything_that_was_asked_for(wire: Wire, plain: str) -> None:
    exchange(wire.url, "PUT", plain + "large", body=LARGE)
    wire.send(head("GET", plain + "large") + head("GET", "/health") + head("GET", plain + "none"))
    wire.sock.shutdown(SHUT_WR)

    assert wire.answer().body == LARGE
    assert wire.answer().body == b"OK"
    assert wire.answer().status == 404
    assert wire.rest() == b""


def test_an_end_while_the_answer_is_made_does_not_stop_it(
    gateway: Gateway, wire: Wire, plain: str
) -> None:
    exchange(wire.url, "PUT", plain + "large", body=LARGE)
    wire.send(head("GET", plain + "large"))
    while not gateway.in_flight:
        pass
    wire.sock.shutdown(SHUT_WR)

    assert wire.answer().body == LARGE
    assert wire.rest() == b""


class Stuck(Wrapped):
    """Opens nothing before it is told to."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.go_on = asyncio.Event()

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        await self.go_on.wait()
        async with super().open(path, ahead) as reading:
            yield reading


async def test_who_leaves_while_the_store_is_stuck_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.02)
    drain = Drain()
    async with serving(Stuck(), drain=drain) as url:
        with Wire(url) as wire:
            wire.send(head("GET", PATH))
            while not drain.in_flight:
                await turns()
        async with asyncio.timeout(5):
            while drain.in_flight:
                await turns()


async def test_who_stays_to_read_is_asked_to_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.02)
    stuck, drain = Stuck(), Drain()
    async with serving(stuck, drain=drain) as url:
        with Wire(url) as wire:
            wire.send(head("GET", PATH))
            wire.sock.shutdown(SHUT_WR)

            assert await asyncio.to_thread(wire.interim) == 100
            await asyncio.sleep(0.06)  # in which nobody takes them for gone
            stuck.go_on.set()
            assert (await asyncio.to_thread(wire.answer)).status == 404
            assert await asyncio.to_thread(wire.rest) == b""


async def test_who_speaks_http_1_0_hears_nothing_before_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LOOK_SECONDS", 0.02)
    stuck = Stuck()
    async with serving(stuck) as url:
        with Wire(url) as wire:
            wire.send(head("GET", PATH).replace(b"HTTP/1.1", b"HTTP/1.0"))
            wire.sock.shutdown(SHUT_WR)

            await asyncio.sleep(0.06)  # in which others are asked whether they are there
            stuck.go_on.set()
            assert (await asyncio.to_thread(wire.answer)).status == 404


def test_what_ends_within_a_body_is_refused_and_what_came_before_it_answered(
    wire: Wire, plain: str
) -> None:
    whole = head("PUT", plain + "whole", body=b"bytes") + b"bytes"
    wire.send(whole + head("PUT", plain + "cut", {"content-length": "10"}) + b"byte")
    wire.sock.shutdown(SHUT_WR)

    assert wire.answer().status == 200
    cut = wire.answer()
    assert (cut.status, "the connection ended first" in cut.detail) == (400, True)
    assert wire.rest() == b""
    assert exchange(wire.url, "GET", plain + "whole").body == b"bytes"
    assert exchange(wire.url, "GET", plain + "cut").status == 404


def test_the_end_of_an_idle_connection_is_the_end(wire: Wire) -> None:
    wire.ask("GET", "/health")
    wire.sock.shutdown(SHUT_WR)

    assert wire.rest() == b""


def test_the_end_of_a_body_that_was_being_skipped_is_the_end(wire: Wire) -> None:
    wire.send(head("PUT", "/v1/objects/nobodys/_/k", {"content-length": "10"}) + b"byte")
    assert wire.answer().status == 404
    wire.sock.shutdown(SHUT_WR)

    assert wire.rest() == b""


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
@pytest.mark.parametrize("cut", [0, 1, 20, 10_000])
def test_what_follows_a_declined_upgrade_is_looked_at_as_all_else_is(
    wire: Wire, plain: str, protocol: str, cut: int
) -> None:
    upgrade = {"connection": "upgrade", "upgrade": protocol}
    odd = {"content-length": "0" * 20}
    upload = head("PUT", plain + "k", upgrade, b"bytes") + b"bytes"
    rest = head("GET", plain + "k", upgrade) + head("GET", "/health") + head("GET", "/x", odd)
    wire.send(upload + rest[:cut])
    assert wire.answer().status == 200
    wire.send(rest[cut:] or b"\r\n")

    assert [wire.answer().body for _ in range(2)] == [b"bytes", b"OK"]
    assert wire.answer().status == 400
    assert wire.rest() == b""


def test_what_came_before_something_that_is_no_request_is_answered(wire: Wire, plain: str) -> None:
    upload = head("PUT", plain + "k", body=b"bytes") + b"bytes"
    wire.send(upload + head("GET", plain + "k") + head("GET", "/health") + b"\x16\x03\x01\r\n\r\n")

    assert wire.answer().status == 200
    assert [wire.answer().body for _ in range(2)] == [b"bytes", b"OK"]
    assert wire.answer().status == 400
    assert wire.rest() == b""


@pytest.mark.parametrize("cut", range(1, 5))
def test_requests_are_told_apart_wherever_the_first_is_cut(wire: Wire, cut: int) -> None:
    first = head("GET", "/health", {"x": "y" * 8000})  # not to be sent together with the rest
    wire.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    wire.send(head("GET", "/health") + first[:-cut])
    assert wire.answer().body == b"OK"
    wire.send(first[-cut:] + head("GET", "/health"))

    assert [wire.answer().body for _ in range(2)] == [b"OK", b"OK"]


# Waiting to be asked


def test_http_1_0_knows_no_100(gateway: Gateway, wire: Wire, plain: str) -> None:
    wire.send(
        f"PUT {plain}k HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n".encode()
    )
    while not gateway.in_flight:
        pass
    wire.send(b"bytes")

    assert wire.answer().status == 200
    assert exchange(wire.url, "GET", plain + "k").body == b"bytes"


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("DELETE", 204)])
def test_a_body_that_nobody_asked_for_ends_the_connection(
    wire: Wire, plain: str, method: str, status: int
) -> None:
    exchange(wire.url, "PUT", plain + "k", body=b"bytes")
    wire.send(head(method, plain + "k", WAITING | LENGTH))

    answer = wire.answer(method)

    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert wire.rest() == b""  # nor is it waited for


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("DELETE", 204)])
def test_a_body_that_came_all_the_same_is_passed_over(
    wire: Wire, plain: str, method: str, status: int
) -> None:
    exchange(wire.url, "PUT", plain + "k", body=b"bytes")
    wire.send(head(method, plain + "k", WAITING | LENGTH) + b"bytes")

    assert wire.answer(method).status == status
    assert wire.ask("GET", "/health").body == b"OK"


# Refused


def refused(gateway: Gateway) -> float:
    """How many requests were refused before anything was made of them."""
    return gateway.metric("pannier_requests_total", operation="refused", status="4xx", usecase="")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": "five"}, 400),
        ({"content-length": "0" * 20}, 400),
        ({"x": "y" * 10_000}, 431),
        ({"origin": "https://pages.example"}, 403),
    ],
)
def test_what_is_refused_at_the_connection_is_counted(
    gateway: Gateway, headers: dict[str, str], status: int
) -> None:
    before = refused(gateway)

    assert exchange(gateway.url, "GET", "/health", headers).status == status
    assert refused(gateway) == before + 1


def test_a_header_with_a_line_break_is_never_sent() -> None:
    for broken in ({"x": "a\nb"}, {"x": "a\rb"}, {"x\r": "a"}):
        with pytest.raises(ValueError, match="a line break"):
            head_bytes(200, broken)
    assert head_bytes(204, {}).endswith(b" GMT\r\n\r\n")


# Patience


async def test_a_client_is_not_blamed_for_a_stop_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with jumps(monkeypatch) as ahead:
        async with Patience():
            ahead.append(3600)
            await turns()


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(ahead: list[float]) -> None:
        async with Patience():
            for _ in range(2):
                ahead.append(PROGRESS_SECONDS / 2)
                await turns()

    with jumps(monkeypatch) as ahead, pytest.raises(TimeoutError):
        await wait(ahead)


@asynccontextmanager
async def an_upload_that_takes(
    seconds: float, monkeypatch: pytest.MonkeyPatch, lifetime: float = inf
) -> AsyncIterator[Wire]:
    """Over a connection that may be used for `lifetime`; only its answer is still to come."""
    metrics = Metrics(drain := Drain())
    async with serving(MemoryStore(), metrics=metrics, drain=drain, lifetime=lifetime) as url:
        with Wire(url) as upload, jumps(monkeypatch) as ahead:
            upload.send(head("PUT", PATH, LENGTH) + b"by")
            while not drain.in_flight:
                await turns()
            ahead.append(seconds)
            await turns()
            upload.send(b"tes")
            yield upload


async def test_an_upload_goes_on_after_a_stop_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with an_upload_that_takes(3600, monkeypatch) as upload:
        assert (await asyncio.to_thread(upload.answer)).status == 200


async def test_what_is_at_hand_when_a_connection_ages_is_answered_as_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with an_upload_that_takes(50, monkeypatch, lifetime=50) as upload:
        answer = await asyncio.to_thread(upload.answer)

        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await asyncio.to_thread(upload.rest) == b""


# Memory


async def test_who_asks_on_and_on_and_never_reads_is_not_answered_on_and_on() -> None:
    metrics = Metrics(Drain())
    async with serving(MemoryStore(), metrics=metrics, defaults={"compression": "None"}) as url:
        await asyncio.to_thread(exchange, url, "PUT", PATH, None, bytes(64 << 10))
        with Wire(url) as wire:
            await asyncio.to_thread(wire.send, head("GET", PATH) * 1000)
            for _ in range(1000):
                await turns()

            assert sum(metrics.requests.tally("attachments", "get", 200).seconds.counts) < 500


async def test_a_body_in_tiny_chunks_takes_no_long_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns_so_far, taken = [0], Counter[int]()
    following = IncomingBody._next

    async def recorded(body: IncomingBody) -> bytes:
        piece = await following(body)
        taken[turns_so_far[0]] += len(piece)
        return piece

    def tick() -> None:
        turns_so_far[0] += 1
        asyncio.get_running_loop().call_soon(tick)

    tick()
    monkeypatch.setattr(IncomingBody, "_next", recorded)  # only to know in which turns they come
    async with serving(MemoryStore()) as url:
        with Wire(url) as wire:
            # from within the loop, so that all has arrived before any of it is read
            wire.send(head("PUT", PATH, CHUNKED) + chunked(*[b"x"] * 15_000))
            assert (await asyncio.to_thread(wire.answer)).status == 200

    assert taken.total() == 15_000
    assert max(taken.values()) < 5000


async def test_a_small_body_that_came_with_its_request_is_taken_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[int] = []
    following = IncomingBody._next

    async def recorded(body: IncomingBody) -> bytes:
        piece = await following(body)
        waited.append(len(piece))
        return piece

    monkeypatch.setattr(IncomingBody, "_next", recorded)
    async with serving(MemoryStore()) as url:
        with Wire(url) as wire:
            for size in (5, 32 << 10, 256 << 10):
                waited.clear()
                body = bytes(size)
                # from within the loop, so that all has arrived before any of it is read
                wire.send(head("PUT", PATH, body=body) + body)
                assert (await asyncio.to_thread(wire.answer)).status == 200
                assert bool(waited) == (size > 32 << 10)


class Intake:
    """How much of bodies is taken at once by a gateway of this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._taken: list[int] = []
        self._read = 0
        receiving, following = Connection.data_received, IncomingBody._next

        def noted(connection: Connection, data: bytes) -> None:
            self._taken.append(len(data))
            receiving(connection, data)

        async def awaited(body: IncomingBody) -> bytes:
            self._read += 1
            return await following(body)

        monkeypatch.setattr(Connection, "data_received", noted)
        monkeypatch.setattr(IncomingBody, "_next", awaited)

    async def begin(self, wire: Wire, body: bytes) -> None:
        """Send the head and one byte, and wait until they are being read."""
        before = self._read
        wire.send(head("PUT", PATH, body=body) + body[:1])
        while self._read == before:
            await turns()

    async def end(self, wire: Wire, body: bytes) -> int:
        """The most that is taken at once of what is left of it, all of which is there."""
        self._taken.clear()
        wire.send(body[1:])
        assert (await asyncio.to_thread(wire.answer)).status == 200
        return max(self._taken)


async def test_of_many_bodies_little_is_taken_at_once_until_they_are_few_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    intake, large = Intake(monkeypatch), bytes(4 * WIDTH)
    async with serving(MemoryStore()) as url:
        with ExitStack() as stack:
            few = [stack.enter_context(Wire(url)) for _ in range(connection.FEW)]
            another = stack.enter_context(Wire(url))
            for each in few:
                await intake.begin(each, b"xy")

            await intake.begin(another, large)
            assert 1024 < await intake.end(another, large) <= WIDTH
            for each in few:
                await intake.end(each, b"xy")
            await intake.begin(another, large)
            assert await intake.end(another, large) > WIDTH


# What is counted


class LastByteStore(Wrapped):
    """Has sent everything but does not come to an end."""

    async def outgoing(
        self, pieces: AsyncGenerator[Buffer, None], start: int
    ) -> AsyncGenerator[Buffer, None]:
        async for piece in pieces:
            yield piece
        await asyncio.Event().wait()


@pytest.mark.parametrize(("read", "status"), [(len(LARGE), 200), (len(LARGE) // 2, 499)])
async def test_a_download_counts_as_done_once_the_client_has_its_last_byte(
    read: int, status: int
) -> None:
    metrics = Metrics(Drain())
    store = LastByteStore(MemoryStore())

    def leave_after(url: str) -> Answer | None:
        exchange(url, "PUT", PATH, body=LARGE)
        with Wire(url) as wire:
            wire.sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            wire.send(head("GET", PATH))
            if read == len(LARGE):
                return wire.answer()
            wire.sock.recv(read)
            return None

    async with serving(store, metrics=metrics, defaults={"compression": "None"}) as url:
        await asyncio.to_thread(leave_after, url)
        tally = metrics.requests.tally("attachments", "get", status)
        async with asyncio.timeout(5):
            while not sum(tally.seconds.counts):
                await turns()
