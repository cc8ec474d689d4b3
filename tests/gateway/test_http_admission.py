"""Limits over HTTP: who is refused, who is slowed down, and who is neither."""

import asyncio
from contextlib import ExitStack
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from time import monotonic

import pytest

from pannier_gateway.stores.memory import MemoryStore
from support.doorstep import serving
from support.gateway import Gateway
from support.wire import Wire, answers, exchange, head

RATE = 200_000  # limits.bytesPerSecond of usecase trickle
AT_ONCE = 100  # bodies of 1 KiB, 128 bytes at a time: more than ten seconds' worth at 1 KiB/s
PATH = "/v1/objects/attachments/_/k"
SIZED = {"content-length": "10000000"}
CHUNKED = {"transfer-encoding": "chunked"}


def test_one_request_too_many_at_once_is_refused_and_the_next_one_is_not(
    gateway: Gateway, wire: Wire, scope: str
) -> None:
    path = f"/v1/objects/one-at-a-time/{scope}/k"
    with Wire(gateway.url) as other:
        other.send(head("PUT", path, {"content-length": "5", "expect": "100-continue"}))
        assert other.interim() == 100

        refused = wire.ask("PUT", path, body=b"other")

        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert "usecase 'one-at-a-time' is at its limits.concurrentRequests of 1" in refused.detail
        other.send(b"bytes")
        assert other.answer().status == 200
    assert wire.ask("GET", path).body == b"bytes"


def test_a_request_over_the_rate_is_refused_before_it_is_asked_for_its_body(
    gateway: Gateway, wire: Wire, scope: str
) -> None:
    path = f"/v1/objects/one-a-second/{scope}/k"
    while wire.ask("GET", path).status != 429:
        pass

    wire.send(head("PUT", path, {"content-length": "5", "expect": "100-continue"}))
    refused = wire.answer()
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    refusals = {"limit": "requestsPerSecond", "usecase": "one-a-second"}
    assert gateway.metric("pannier_limited_requests_total", **refusals)


@pytest.mark.slow
def test_bytes_over_the_rate_take_their_time_in_and_out(wire: Wire, scope: str) -> None:
    path, body = f"/v1/objects/trickle/{scope}/", bytes(RATE)

    begun = monotonic()
    assert wire.ask("PUT", path + "large", body=body + body[: RATE // 8]).status == 200
    assert wire.ask("GET", path + "large", {"range": f"bytes=0-{RATE // 8}"}).status == 206
    assert wire.ask("GET", path + "large", {"range": "bytes=5-"}).status == 206

    assert monotonic() - begun > 1.2


def test_a_small_paced_answer_is_as_whole_as_any(wire: Wire, scope: str) -> None:
    path = f"/v1/objects/trickle/{scope}/k"
    wire.ask("PUT", path, body=b"few")

    assert wire.ask("GET", path).body == b"few"
    assert wire.ask("HEAD", path).headers["content-length"] == "3"
    assert wire.ask("GET", path, {"if-none-match": "*"}).status == 304


@pytest.mark.parametrize("framing", [SIZED, CHUNKED], ids=["sized", "chunked"])
@pytest.mark.parametrize("reset", [True, False])
def test_who_leaves_within_a_paced_upload_makes_room_at_once(
    wire: Wire, scope: str, framing: dict[str, str], *, reset: bool
) -> None:
    path = f"/v1/objects/drop-by-drop/{scope}/k"
    while wire.ask("HEAD", path).status == 429:
        pass
    with Wire(wire.url) as upload:  # of minutes, and more than is read ahead of the pace
        upload.sock.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", reset, 0))
        upload.send(head("PUT", path, framing) + b"61a80\r\n" + bytes(400_000))
        while wire.ask("HEAD", path).status != 429:
            pass

    left = monotonic()
    while wire.ask("HEAD", path).status == 429:
        assert monotonic() < left + 3
    assert wire.ask("HEAD", path).status == 404


@pytest.mark.slow
def test_who_sends_no_more_after_a_whole_body_is_slowed_like_anybody(
    wire: Wire, scope: str
) -> None:
    path, body = f"/v1/objects/trickle/{scope}/k", bytes(2 * RATE)
    begun = monotonic()
    with Wire(wire.url) as upload:
        upload.send(head("PUT", path, body=body) + body)
        upload.sock.shutdown(1)
        assert [each.status for each in answers(upload.rest())] == [200]

    assert monotonic() - begun > 0.8


async def test_bodies_far_behind_keep_out_no_request_without_one() -> None:
    def ask(url: str) -> list[int]:
        with ExitStack() as stack:
            wires = [stack.enter_context(Wire(url)) for _ in range(AT_ONCE)]
            for wire in wires:
                wire.send(head("GET", PATH))
            while exchange(url, "PUT", PATH, {"if-match": '"none"'}, b"x").status != 429:
                pass
            return [exchange(url, each, PATH).status for each in ("GET", "HEAD", "DELETE")]

    limits = {"bytesPerSecond": 1024}
    async with serving(MemoryStore(), limits=limits, defaults={"compression": "None"}) as url:
        await asyncio.to_thread(exchange, url, "PUT", PATH, None, bytes(1024))

        assert await asyncio.to_thread(ask, url) == [429, 200, 204]
