"""A body cut short is an error, wherever it is cut and however it is read."""

import io
import shutil
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier import (
    Client,
    GetResult,
    IntegrityError,
    PannierError,
    ProtocolError,
    RequestTimeout,
    Timeout,
    TruncatedBody,
)
from pannier.framing import ChunkedBody, FramedBody, SizedBody, in_chunks
from support.scripted import Peer, answer, serving

BODY = b"0123456789abcdefghij"
SIZED = answer("200 OK", BODY, "x-sn-size: 20")
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"00a\r\n0123456789\r\n05;name=value\r\nabcde\r\n5\r\nfghij\r\n00\r\nx-trailer: 1\r\n\r\n"
)


def by_readinto(result: GetResult) -> bytes:
    pieces, buffer = [], bytearray(7)
    while size := result.readinto(buffer):
        pieces.append(bytes(buffer[:size]))
    return b"".join(pieces)


def by_copying(result: GetResult) -> bytes:
    copy = io.BytesIO()
    shutil.copyfileobj(result, copy, 3)
    return copy.getvalue()


STYLES: dict[str, Callable[[GetResult], bytes]] = {
    "read()": lambda result: result.read(),
    "readall()": lambda result: result.readall(),
    "read(None)": lambda result: result.read(None),
    "read(n)": lambda result: b"".join(iter(lambda: result.read(7), b"")),
    "read(1)": lambda result: b"".join(iter(lambda: result.read(1), b"")),
    "readinto": by_readinto,
    "iteration": b"".join,
    "buffered": lambda result: io.BufferedReader(result, 5).read(),
    "copyfileobj": by_copying,
}


def cut(reply: bytes, size: int) -> Callable[[Peer], None]:
    """Answer with the head and so many bytes of the body, then hang up."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(reply[: reply.index(b"\r\n\r\n") + 4 + size])

    return script


def fetch(style: str, *script: Callable[[Peer], object] | bytes) -> bytes:
    with (
        serving(*script) as server,
        Client(server.url, pool_size=0, timeout=5) as client,
        client.session("abc").get("k") as result,
    ):
        return STYLES[style](result)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("reply", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_a_complete_body_is_read_in_every_style(style: str, reply: bytes) -> None:
    assert fetch(style, reply) == BODY


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("reply", [SIZED, CHUNKED], ids=["sized", "chunked"])
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_body_cut_anywhere_is_an_error_in_every_style(style: str, reply: bytes, end: str) -> None:
    begin = reply.index(b"\r\n\r\n") + 4
    cuts = iter(range(begin, len(reply)))

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(reply[: next(cuts)])
        if end == "reset":
            peer.reset()

    with serving(script) as server, Client(server.url, pool_size=0, timeout=5) as client:
        for _ in range(begin, len(reply)):
            with pytest.raises(PannierError) as raised, client.session("abc").get("k") as result:
                STYLES[style](result)
            assert isinstance(raised.value, IntegrityError | ConnectionError)


@pytest.mark.parametrize("reply", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_a_head_cut_anywhere_is_an_error(reply: bytes) -> None:
    end = reply.index(b"\r\n\r\n") + 3
    cuts = iter(range(end))

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(reply[: next(cuts)])

    with serving(script) as server, Client(server.url, pool_size=0, timeout=5) as client:
        for _ in range(end):
            with pytest.raises(PannierError), client.session("abc").get("k") as result:
                result.read()


def test_the_error_says_how_far_it_got_and_is_a_connection_error_too() -> None:
    with pytest.raises(
        TruncatedBody, match=r"get 'k' in usecase 'abc': .* at 7/20 bytes"
    ) as raised:
        fetch("read(n)", cut(SIZED, 7))

    assert isinstance(raised.value, ConnectionError)


def test_a_truncated_body_stays_so_when_asked_again() -> None:
    with serving(cut(SIZED, 7)) as server, Client(server.url) as client:
        result = client.session("abc").get("k")
        assert result.read(7) == BODY[:7]
        for _ in range(3):
            with pytest.raises(TruncatedBody):
                result.read(1)
        with pytest.raises(TruncatedBody):
            result.readinto(bytearray(1))
        result.close()
        assert repr(client).endswith(" 0 idle>")


def test_a_server_that_falls_silent_in_the_body_is_a_timeout() -> None:
    def script(peer: Peer) -> None:
        cut(SIZED, 7)(peer)
        peer.wait_for_end()

    with serving(script) as server, Client(server.url, timeout=Timeout(5, 0.05)) as client:
        result = client.session("abc").get("k")
        with pytest.raises(RequestTimeout, match="at 0/20 bytes"):
            result.read()
        with pytest.raises(RequestTimeout):
            result.read()
        result.close()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    ],
)
def test_a_body_whose_end_could_not_be_told_from_a_cut_is_refused(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        fetch("read()", cut(head + BODY, len(BODY)))


@pytest.mark.parametrize(
    "chunks",
    [
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"\r\nabcde\r\n0\r\n\r\n",
        b"5\r\nabcdef\r\n0\r\n\r\n",
        b"5\r\nabcde0\r\n\r\n",
        b"ffffffffffffffffff\r\nabcde",
        b"5\r\nabcde\r\n0\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"5" + b" " * 20_000 + b"\r\nabcde\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_break_the_grammar_are_no_body(chunks: bytes) -> None:
    body = ChunkedBody(io.BytesIO(chunks))
    with pytest.raises(EOFError):
        read_out(body, 4)


def read_out(body: FramedBody, size: int) -> bytes:
    pieces = []
    while not body.ended:
        pieces.append(body.read(size))
    return b"".join(pieces)


@given(st.lists(st.binary(min_size=1, max_size=30)), st.integers(1, 40))
def test_blocks_survive_the_chunks(blocks: list[bytes], size: int) -> None:
    wire = io.BytesIO(b"".join(in_chunks(iter(blocks))) + b"next")

    assert read_out(ChunkedBody(wire), size) == b"".join(blocks)
    assert wire.read() == b"next"


@given(st.binary(max_size=60), st.data())
def test_no_part_of_a_framed_body_passes_for_the_whole(content: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    wire = b"".join(in_chunks(iter([content] if content else [])))
    chunked = ChunkedBody(io.BytesIO(wire[: data.draw(st.integers(0, len(wire) - 1))]))
    sized = SizedBody(io.BytesIO(content), len(content) + 1)

    for body in (chunked, sized):
        with pytest.raises(EOFError):
            read_out(body, size)


@given(st.binary(max_size=60), st.integers(1, 40))
def test_a_sized_body_ends_with_its_last_byte(content: bytes, size: int) -> None:
    wire = io.BytesIO(content + b"next")
    body, buffer = SizedBody(wire, len(content)), memoryview(bytearray(size))

    pieces = []
    while not body.ended:
        pieces.append(bytes(buffer[: body.readinto(buffer)]))

    assert b"".join(pieces) == content
    assert wire.read() == b"next"
