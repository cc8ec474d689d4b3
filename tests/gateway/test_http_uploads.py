"""Uploads that wait to be asked, are refused, break off or break apart: never half an object."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from itertools import repeat
from socket import SHUT_WR
from urllib.parse import urlsplit

import pytest
import zstandard

from pannier_gateway.api import connection, patience
from pannier_gateway.errors import BadRequest
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.uploads import UploadRules, limited
from support.doorstep import serving
from support.gateway import Gateway
from support.wire import Wire, chunked, exchange, head
from support.zstd_bodies import chunks, noise, text

LARGE = 2 << 20
TEXT, NOISE = text(LARGE), noise(LARGE)
CHUNKED = {"transfer-encoding": "chunked"}
WAITING = {"expect": "100-continue"}
PATH = "/v1/objects/attachments/_/k"


def length(size: int) -> dict[str, str]:
    return {"content-length": str(size)}


# Waiting to be asked


@pytest.mark.parametrize("framing", [length(5), CHUNKED], ids=["sized", "chunked"])
@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
def test_a_client_that_waits_is_asked_once_for_its_body(
    wire: Wire, plain: str, framing: dict[str, str], expectation: str
) -> None:
    wire.send(head("PUT", plain + "k", framing | {"expect": expectation}))
    asked = wire.interim()
    wire.send(b"bytes" if framing != CHUNKED else chunked(b"by", b"tes"))

    assert (asked, wire.answer().status) == (100, 200)
    assert wire.ask("GET", plain + "k").body == b"bytes"


def test_a_client_that_does_not_wait_after_all_is_not_asked(wire: Wire, plain: str) -> None:
    wire.send(head("PUT", plain + "k", length(5) | WAITING) + b"bytes")

    assert wire.answer().status == 200


def test_a_request_without_a_body_has_nothing_to_be_asked_for(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", body=b"bytes")

    assert wire.ask("GET", plain + "k", WAITING).body == b"bytes"
    assert wire.ask("DELETE", plain + "k", WAITING).status == 204


@pytest.mark.parametrize(
    ("usecase", "headers", "status"),
    [
        ("nobodys", {}, 404),
        ("all-off", {}, 503),
        ("no-writes", {}, 503),
        ("archived", {}, 403),
        ("limited", length(100_001), 413),
        ("bounded", {"x-sn-expiration": "manual"}, 400),
        ("plain", {"content-encoding": "gzip"}, 400),
        ("plain", {"x-sn-expiration": "soon"}, 400),
        ("plain", {"if-match": "untagged"}, 400),
        ("plain", {"expect": "miracles"}, 417),
    ],
)
@pytest.mark.parametrize("waiting", [WAITING, {}], ids=["waiting", "sending"])
def test_a_refusal_comes_without_asking_for_the_body(
    wire: Wire,
    scope: str,
    waiting: dict[str, str],
    usecase: str,
    headers: dict[str, str],
    status: int,
) -> None:
    wire.send(head("PUT", f"/v1/objects/{usecase}/{scope}/k", length(50_000) | waiting | headers))

    answer = wire.answer()

    assert answer.status == status
    assert answer.detail


def test_who_was_never_asked_is_told_that_the_connection_ends(wire: Wire) -> None:
    wire.send(head("PUT", "/v1/objects/nobodys/_/k", length(50_000) | WAITING))

    assert wire.answer().headers["connection"] == "close"


# Refused on the way


def test_a_body_of_unknown_length_is_cut_off_where_it_grows_too_large(
    wire: Wire, scope: str
) -> None:
    path = f"/v1/objects/limited/{scope}/k"
    wire.send(head("PUT", path, CHUNKED))
    for chunk in repeat(b"186a0\r\n" + NOISE[:100_000] + b"\r\n", 2):
        wire.send(chunk)

    answer = wire.answer()  # though the body has not ended
    assert answer.status == 413
    assert exchange(wire.url, "GET", path).status == 404


def test_who_reads_only_after_sending_it_all_still_learns_why_it_was_refused(
    gateway: Gateway,
) -> None:
    with Wire(gateway.url) as wire:
        wire.send(head("PUT", "/v1/objects/nobodys/_/k", length(32 << 20)))
        for piece in repeat(bytes(1 << 20), 32):
            wire.send(piece)

        assert wire.answer().status == 404
        assert wire.ask("GET", "/health").status == 200


# Broken off


def cut_sized(path: str, body: bytes, at: int) -> bytes:
    return head("PUT", path, length(len(body))) + body[:at]


def cut_between_chunks(path: str, body: bytes, at: int) -> bytes:
    return cut_before_the_last_line(path, body, at).removesuffix(b"0\r\n")


def cut_within_a_chunk(path: str, body: bytes, at: int) -> bytes:
    return head("PUT", path, CHUNKED) + b"%x\r\n" % len(body) + body[:at]


def cut_before_the_last_line(path: str, body: bytes, at: int) -> bytes:
    return head("PUT", path, CHUNKED) + chunked(*chunks(body[:at], 50_000))[:-2]


def cut_zstd(path: str, body: bytes, at: int) -> bytes:
    squeezed = zstandard.compress(body)
    framing = length(len(squeezed)) | {"content-encoding": "zstd"}
    return head("PUT", path, framing) + squeezed[: min(at, len(squeezed) - 1)]


@pytest.mark.parametrize(
    "cut", [cut_sized, cut_between_chunks, cut_within_a_chunk, cut_before_the_last_line, cut_zstd]
)
@pytest.mark.parametrize("at", [0, 1, 70_000, LARGE - 1])
@pytest.mark.parametrize("place", ["plain", "packed"])
def test_an_upload_that_breaks_off_leaves_what_was_there(
    gateway: Gateway,
    scope: str,
    place: str,
    cut: Callable[[str, bytes, int], bytes],
    at: int,
) -> None:
    collection = f"/v1/objects/{place}/{scope}/"
    exchange(gateway.url, "PUT", collection + "old", body=b"old")
    for key in ("old", "new"):
        with Wire(gateway.url) as wire:
            wire.send(cut(collection + key, TEXT if at > 1 else b"short", at))
        with Wire(gateway.url) as wire:
            wire.send(cut(collection + key, TEXT if at > 1 else b"short", at))
            wire.sock.shutdown(SHUT_WR)
            wire.rest()

    while gateway.in_flight:
        pass
    assert exchange(gateway.url, "GET", collection + "old").body == b"old"
    assert exchange(gateway.url, "GET", collection + "new").status == 404


def test_uploads_that_break_off_leave_no_files(gateway: Gateway, wire: Wire, plain: str) -> None:
    bodies = gateway.log.parent / "data" / "default" / "main" / "bodies"
    before = set(bodies.glob("*/*"))
    broken = Wire(gateway.url)
    broken.send(cut_sized(plain + "k", bytes(LARGE), LARGE - 1))
    while not set(bodies.glob("*/*")) - before:
        assert wire.ask("GET", "/health").status == 200
    broken.close()

    while set(bodies.glob("*/*")) - before:
        assert wire.ask("GET", "/health").status == 200
    assert wire.ask("GET", plain + "k").status == 404


# Broken apart


@pytest.mark.parametrize(
    "rest",
    [
        b"zz\r\nbytes\r\n0\r\n\r\n",
        b"-5\r\nbytes\r\n0\r\n\r\n",
        b"5 \r\nbytes\r\n0\r\n\r\n",
        b"0x5\r\nbytes\r\n0\r\n\r\n",
        b"5\r\nbytes0\r\n\r\n",
        b"5\r\nbytesX\r\n0\r\n\r\n",
        b"5\nbytes\n0\n\n",
        b"fffffffffffffffff\r\nbytes",
        b"0\r\nbad trailer\r\n\r\n",
        b"0\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"0\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(300)) + b"\r\n",
        b"0\r\n : x\r\n\r\n",
    ],
)
@pytest.mark.parametrize("sent", [b"bytes", NOISE], ids=["small", "large"])
def test_chunks_that_turn_to_nonsense_are_refused_at_once(
    gateway: Gateway, wire: Wire, plain: str, rest: bytes, sent: bytes
) -> None:
    wire.send(head("PUT", plain + "k", CHUNKED) + b"%x\r\n%b" % (len(sent), sent))
    while not gateway.in_flight:  # so that the request is being read when it breaks
        pass
    wire.send(b"\r\n" + rest)  # so that the end of a chunk wakes the reader at the same time

    answer = wire.answer()

    assert answer.status == 400
    assert "the body can't be read" in answer.detail
    assert wire.rest() == b""
    assert exchange(gateway.url, "GET", plain + "k").status == 404


def test_nonsense_behind_a_refused_upload_ends_the_connection_without_a_word(wire: Wire) -> None:
    wire.send(head("PUT", "/v1/objects/nobodys/_/k", CHUNKED) + b"5\r\nbytes\r\n")
    refusal = wire.answer()
    wire.send(b"zz\r\n")

    assert refusal.status == 404
    assert wire.rest() == b""


def test_nonsense_behind_a_request_in_the_queue_is_laid_to_that_one(wire: Wire, plain: str) -> None:
    wire.send(
        head("PUT", plain + "first", length(5))
        + b"bytes"
        + head("PUT", plain + "second", CHUNKED)
        + b"5\r\nbytes\r\n"
    )
    assert wire.answer().status == 200
    wire.send(b"zz\r\n")

    assert wire.answer().status == 400
    assert wire.rest() == b""


# Stalled


def address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return str(parts.hostname), int(parts.port or 0)


async def test_a_client_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PROGRESS_SECONDS", 0.1)  # nobody waits a minute for a test
    async with serving(MemoryStore()) as url:

        def stall(sent: bytes) -> int:
            with Wire(url) as wire:
                wire.send(head("PUT", PATH, length(10)) + sent)
                answer = wire.answer()
                assert "no byte of the body came" in answer.detail
                return answer.status

        assert await asyncio.to_thread(stall, b"") == 408
        assert await asyncio.to_thread(stall, b"half ") == 408
        assert (await asyncio.to_thread(exchange, url, "GET", PATH)).status == 404


async def test_a_reader_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PROGRESS_SECONDS", 0.1)  # nobody waits a minute for a test
    async with serving(MemoryStore(), defaults={"compression": "None"}) as url:

        def stall() -> int:
            exchange(url, "PUT", PATH, body=bytes(32 << 20))
            with socket.create_connection(address_of(url)) as reader:
                reader.sendall(head("GET", PATH))
                given_up = select.poll()
                given_up.register(reader, select.POLLHUP | select.POLLERR)
                ((_, event),) = given_up.poll(10_000)
                return event

        assert await asyncio.to_thread(stall) & select.POLLERR


async def test_a_client_that_never_asks_anything_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.1)  # nor longer than that
    async with serving(MemoryStore()) as url:

        def linger(sent: bytes) -> bytes:
            with Wire(url) as wire:
                wire.send(sent)
                return wire.rest()

        assert await asyncio.to_thread(linger, b"") == b""
        assert await asyncio.to_thread(linger, b"GET /health HTTP/1.1\r\nhost") == b""
        assert b"OK" in await asyncio.to_thread(linger, head("GET", "/health"))


def test_a_reader_who_leaves_is_noticed(gateway: Gateway, plain: str) -> None:
    exchange(gateway.url, "PUT", plain + "k", body=bytes(64 << 20))
    with Wire(gateway.url) as wire:
        wire.send(head("GET", plain + "k"))
        while not gateway.in_flight:
            pass

    while gateway.in_flight:
        pass


async def test_a_body_that_ends_before_its_length_is_refused_should_the_parser_let_it_pass() -> (
    None
):
    class Short:
        length: int | None = 5

        def take_at_hand(self, most: int) -> bytes | None:
            return None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"byte"

    rules = UploadRules("plain", most_bytes=None, compress=False, level=3, least_bytes=0)
    with pytest.raises(BadRequest, match="ended after 4 of 5 bytes"):
        assert [piece async for piece in limited(Short(), rules)]
