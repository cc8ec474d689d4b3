"""Answers, cut into pieces in every way, whole and broken."""

from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.upstream.errors import AnswerCut, AnswerMalformed
from pannier_gateway.upstream.parser import AnswerParser

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: e\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nx-trailer: t\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n" + PLAIN
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"

WHOLE = {
    "plain": (PLAIN, b"hello"),
    "empty": (EMPTY, b""),
    "chunked": (CHUNKED, b"hello"),
    "after interim ones": (INTERIM, b"hello"),
    "204": (NO_CONTENT, b""),
    "304": (NOT_MODIFIED, b""),
}

MALFORMED = [
    b"<html>",
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/1.1 banana\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    b"HTTP/1.1 200 OK\r\na b: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\na: 1\r\n folded\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n",
    b"HTTP/1.1 200 OK\r\na: " + b"x" * 70_000,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    PLAIN + b"HTTP/1.1 200 OK\r\n",
    EMPTY + PLAIN,
    CHUNKED + PLAIN,
    NO_CONTENT + b"x",
]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({edge % (len(data) + 1) for edge in at}), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


def parsed(pieces: Iterable[bytes], *, bodiless: bool = False) -> AnswerParser:
    parser = AnswerParser(bodiless=bodiless)
    for piece in pieces:
        parser.feed(memoryview(piece))
    return parser


def body(parser: AnswerParser) -> bytes:
    return b"".join(map(bytes, parser.pieces))


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_the_same_cut_in_two_anywhere(name: str) -> None:
    data, expected = WHOLE[name]
    for edge in range(len(data) + 1):
        parser = parsed([data[:edge], data[edge:]])

        assert parser.ended
        assert body(parser) == expected


@pytest.mark.parametrize("name", WHOLE)
@given(edges=st.lists(st.integers(0, 1000), max_size=12))
def test_an_answer_is_the_same_cut_into_any_pieces(name: str, edges: list[int]) -> None:
    data, expected = WHOLE[name]
    parser = parsed(cut(data, edges))

    assert parser.ended
    assert body(parser) == expected
    assert parser.head == parsed([data]).head


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=8),
    st.lists(st.integers(0, 1000), max_size=8),
    st.booleans(),
)
def test_any_body_comes_through_as_it_is(
    parts: list[bytes], edges: list[int], chunked: bool
) -> None:
    content = b"".join(parts)
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    head = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(content)
    data = b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (head, framed if chunked else content)

    parser = parsed(cut(data, edges))

    assert parser.ended
    assert body(parser) == content


@pytest.mark.parametrize("data", [PLAIN, CHUNKED, INTERIM])
def test_an_answer_that_ends_early_is_cut_wherever_it_ends(data: bytes) -> None:
    for edge in range(1, len(data)):
        with pytest.raises(AnswerCut):
            parsed([data[:edge]]).end()


def test_a_cut_body_says_what_it_owes() -> None:
    parser = parsed([PLAIN[:-2]])

    with pytest.raises(AnswerCut) as caught:
        parser.end()

    assert caught.value.owed == 2
    assert body(parser) == b"hel"


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    parser = parsed([TO_THE_END])

    parser.end()

    assert parser.ended
    assert body(parser) == b"hello"
    assert parser.head is not None
    assert parser.head.length is None
    assert not parser.head.keep_alive


@pytest.mark.parametrize("head", [PLAIN[:-5], CHUNKED.partition(b"3;")[0], EMPTY, TO_THE_END[:-5]])
def test_the_answer_to_head_has_no_body_whatever_it_says(head: bytes) -> None:
    parser = parsed([head], bodiless=True)

    assert parser.ended
    with pytest.raises(AnswerMalformed):
        parser.feed(b"x")


def test_headers_have_lowercase_names_and_repeated_ones_are_joined() -> None:
    parser = parsed([b"HTTP/1.1 200 OK\r\nA: 1\r\nb:  x y \r\na: 2\r\ncontent-length: 0\r\n\r\n"])

    assert parser.head is not None
    assert parser.head.headers == {"a": "1, 2", "b": "x y", "content-length": "0"}


def test_trailers_are_no_headers() -> None:
    parser = parsed([CHUNKED])

    assert parser.head is not None
    assert "x-trailer" not in parser.head.headers


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0", False),
        (b"HTTP/1.1 200 OK", False),
        (b"HTTP/1.1 204 No Content", True),
    ],
)
def test_a_connection_stays_only_where_the_end_of_the_answer_is_known(
    head: bytes, stays: bool
) -> None:
    parser = parsed([head + b"\r\n\r\n"])

    assert parser.head is not None
    assert parser.head.keep_alive is stays


def test_consent_is_noticed_before_the_answer() -> None:
    parser = parsed([b"HTTP/1.1 100 Continue\r\n\r\n"])

    assert parser.consented
    assert parser.head is None


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_answer_is_refused_whole_or_byte_by_byte(data: bytes) -> None:
    with pytest.raises(AnswerMalformed):
        parsed([data])
    with pytest.raises(AnswerMalformed):
        parsed(cut(data, range(len(data))))


def test_framing_without_a_body_is_refused_before_it_costs_much() -> None:
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 200_000

    with pytest.raises(AnswerMalformed):
        parsed(cut(data, range(0, len(data), 1000)))


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_are_an_answer_a_cut_one_or_malformed(data: bytes, edges: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED[:-30]):
        with suppress(AnswerCut, AnswerMalformed):
            parsed(cut(start + data, edges)).end()


def test_a_body_of_known_length_is_kept_where_it_was_received() -> None:
    parser = parsed([PLAIN[:-5]])
    received = memoryview(bytearray(b"hello"))

    parser.feed(received)

    assert parser.pieces[0] is received
