"""Bad input over a raw socket: whatever comes, an answer that makes sense, or the end.

More examples: pytest --hypothesis-profile=storm tests/gateway/test_http_fuzz.py
"""

import json
import socket
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.gateway import Gateway
from support.malformed import (
    AMBIGUOUS,
    broken_chunks,
    chunks,
    headers,
    malformed,
    mutated,
    request,
    split,
    targets,
    well_formed,
)
from support.wire import Answer, CutOff, Wire, answers, exchange

PLACE = "/v1/objects/plain/fuzz=1/"
HIDDEN = "/v1/objects/plain/hidden=1/k"
GRACE = 0.05  # seconds of silence after which a request counts as not finished

anyhow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@pytest.fixture(autouse=True, scope="module")
def nothing_untoward(gateway: Gateway) -> Iterator[None]:
    """After all of it, the gateway is well, and complained of nothing that was its own fault."""
    yield
    assert exchange(gateway.url, "PUT", PLACE + "after", body=b"x").status == 200
    assert exchange(gateway.url, "GET", PLACE + "after").body == b"x"
    assert "Traceback" not in gateway.log.read_text()
    assert not [line for line in gateway.log.read_text().splitlines() if "request failed" in line]
    while gateway.in_flight:
        pass


def converse(gateway: Gateway, pieces: Sequence[bytes], *, wait: bool = False) -> list[Answer]:
    """Send, then take what comes; hang up when nothing more does, unless told to `wait`.

    Fails when the gateway neither ends nor answers.
    """
    received = b""
    with Wire(gateway.url) as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                wire.send(piece)
            wire.sock.settimeout(wire.sock.gettimeout() if wait else GRACE)
            while piece := wire.sock.recv(65536):
                received += piece
        except TimeoutError:
            assert not wait, f"stuck after {received!r}"
            wire.sock.settimeout(5)
            wire.sock.shutdown(socket.SHUT_WR)
            received += wire.rest()
        except (BrokenPipeError, ConnectionResetError):
            received += wire.rest()
    return list(answers(received))


def check_refusal(answer: Answer) -> None:
    """A refusal says in words what was wrong."""
    assert 400 <= answer.status < 500
    assert answer.detail.startswith("client error: ")
    assert len(answer.detail) > len("client error: malformed request: ")


def check_any(answer: Answer) -> None:
    """Fit for a request of which nothing is known."""
    assert answer.status < 500 or answer.status == 501, answer
    if answer.status >= 400 and answer.body:
        assert answer.detail


# One thing wrong


def test_a_malformed_head_is_refused_in_words_and_is_the_end(gateway: Gateway) -> None:
    @anyhow
    @given(malformed(PLACE + "k").flatmap(split))
    def refused(pieces: list[bytes]) -> None:
        (answer,) = converse(gateway, pieces, wait=True)
        check_refusal(answer)
        assert answer.headers["connection"] == "close"

    refused()


@pytest.mark.parametrize("framing", AMBIGUOUS, ids=repr)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_what_hides_behind_an_ambiguous_framing_is_never_done(
    gateway: Gateway, method: str, framing: list[tuple[str, str]]
) -> None:
    hidden = request("PUT", HIDDEN, [("host", "x"), ("content-length", "1")], b"x")
    whole = request(method, PLACE + "k", [("host", "x"), *framing])

    for body in (b"0\r\n\r\n" + hidden, b"hello" + hidden, hidden):
        for pieces in ([whole + body], [whole, body]):
            (answer,) = converse(gateway, pieces, wait=True)
            check_refusal(answer)

    assert exchange(gateway.url, "GET", HIDDEN).status == 404


def test_a_body_in_broken_chunks_is_refused_and_nothing_of_it_kept(gateway: Gateway) -> None:
    path = PLACE + "broken"
    whole = request("PUT", path, [("host", "x"), ("transfer-encoding", "chunked")])

    @anyhow
    @given(broken_chunks(), st.booleans(), st.data())
    def refused(body: bytes, apart: bool, data: st.DataObject) -> None:
        pieces = [whole, *data.draw(split(body))] if apart else [whole + body]
        (answer,) = converse(gateway, pieces, wait=True)
        check_refusal(answer)
        assert exchange(gateway.url, "GET", path).status == 404

    refused()


def test_a_body_that_breaks_off_is_never_an_object(gateway: Gateway) -> None:
    path = PLACE + "cut"

    @anyhow
    @given(st.binary(min_size=1, max_size=5000), st.booleans(), st.data())
    def gone(body: bytes, in_chunks: bool, data: st.DataObject) -> None:
        framing = (
            ("transfer-encoding", "chunked") if in_chunks else ("content-length", str(len(body)))
        )
        whole = request("PUT", path, [("host", "x"), framing])
        rest = data.draw(chunks(body)) if in_chunks else body
        at = data.draw(st.integers(0, len(rest) - 1))
        with Wire(gateway.url) as wire:
            wire.send(whole + rest[:at])
            if data.draw(st.booleans()):
                wire.sock.shutdown(socket.SHUT_WR)
                wire.rest()
        assert exchange(gateway.url, "GET", path).status == 404

    gone()


# Nothing wrong, but odd


def test_any_well_formed_request_is_answered_and_the_next_one_too(gateway: Gateway) -> None:
    following = request("GET", "/ready", [("host", "x"), ("connection", "close")])

    @anyhow
    @given(well_formed(PLACE).flatmap(split))
    def answered(pieces: list[bytes]) -> None:
        first, *more = converse(gateway, [*pieces, following], wait=True)
        check_any(first)
        assert [(answer.status, answer.body) for answer in more] == [(200, b"OK")]

    answered()


def test_an_object_stored_under_odd_headers_is_the_bytes_that_were_sent(gateway: Gateway) -> None:
    @anyhow
    @given(headers(), targets(PLACE), st.binary(max_size=3000))
    def stored(fields: list[tuple[str, str]], target: str, body: bytes) -> None:
        framed = [("host", "x"), ("content-length", str(len(body))), *fields]
        with Wire(gateway.url) as wire:
            wire.send(request("PUT", target, framed, body))
            put = wire.answer()
            check_any(put)
            if put.status == 200:
                key = json.loads(put.body)["key"]
                got = wire.ask("GET", target, {"x-os-auth": "Bearer x"})
                assert key
                assert got.status == 404 or got.body == body  # it may have expired at once

    stored()


def test_requests_in_a_row_are_answered_one_by_one_however_they_are_cut(gateway: Gateway) -> None:
    @anyhow
    @given(st.lists(st.binary(max_size=2000), min_size=1, max_size=12), st.data())
    def in_order(bodies: list[bytes], data: st.DataObject) -> None:
        row = b""
        for number, body in enumerate(bodies):
            host, path = ("host", "x"), f"{PLACE}row/{number}"
            row += request("PUT", path, [host, ("content-length", str(len(body)))], body)
            row += request("GET", path, [host])
        row += request("GET", "/health", [host, ("connection", "close")])
        *got, last = converse(gateway, data.draw(split(row)), wait=True)
        assert [answer.status for answer in got] == [200] * (2 * len(bodies))
        assert [answer.body for answer in got[1::2]] == bodies
        assert last.body == b"OK"

    in_order()


# Anything


def test_any_change_to_a_request_is_survived(gateway: Gateway) -> None:
    @anyhow
    @given(mutated(PLACE).flatmap(split))
    def survived(pieces: list[bytes]) -> None:
        for answer in converse(gateway, pieces):
            check_any(answer)

    survived()


def test_any_bytes_are_survived(gateway: Gateway) -> None:
    @anyhow
    @given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
    def survived(pieces: list[bytes]) -> None:
        for answer in converse(gateway, pieces):
            check_any(answer)

    survived()


@pytest.mark.parametrize("sent", [b"", b"GET", request("GET", PLACE, [("host", "x")])[:-2]])
def test_who_hangs_up_early_is_let_go(gateway: Gateway, sent: bytes) -> None:
    with Wire(gateway.url) as wire:
        wire.send(sent)
        wire.sock.shutdown(socket.SHUT_WR)

        assert wire.rest() == b""
        with pytest.raises(CutOff):
            wire.answer()
