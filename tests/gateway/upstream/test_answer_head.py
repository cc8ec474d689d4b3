"""Heads of answers, beside what another parser makes of them."""

import time

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from hypothesis import example, given
from hypothesis import strategies as st

from pannier_gateway.upstream.errors import AnswerMalformed
from pannier_gateway.upstream.head import MOST_DIGITS, Head, read_head
from pannier_gateway.upstream.parser import LONGEST_HEAD

NAMES = ["a", "B-c", "content-length", "Content-Length", "transfer-encoding", "connection", "x_!~"]
VALUES = ["", "5", " 5\t", "chunked", "Close", "x: y", "é", "1, 2", "\t"]
ODD = ["\r", "\n", "\0", "\x7f", " ", "\t", ":", "(", "\x1f", "\x80", "\r\n", "\r\n "]
STATUSES = ["200 OK", "204 No Content", "404", "599 é", "200", "99 Low", "2000 High", "200OK"]

fields = st.tuples(st.sampled_from(NAMES), st.sampled_from([":", ": ", ":\t", " :"]))
lines = st.tuples(fields, st.sampled_from(VALUES)).map(lambda line: "".join((*line[0], line[1])))
heads = st.builds(
    lambda version, status, lines: (
        f"HTTP/{version} {status}\r\n" + "".join(f"{x}\r\n" for x in lines)
    ),
    st.sampled_from(["1.1", "1.1", "1.1", "1.0", "2.0", "1.2"]),
    st.sampled_from(STATUSES),
    st.lists(lines, max_size=4),
)
placed = st.tuples(st.sampled_from(["", "", *ODD]), st.integers(0, 200))


class Theirs:
    """What httptools tells of a head."""

    def __init__(self, text: bytes) -> None:
        self.headers: dict[str, str] = {}
        parser = HttpResponseParser(self)
        parser.feed_data(text)
        self.status = parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


def ours(text: bytes) -> Head | None:
    try:
        return read_head(text, bodiless=False)
    except AnswerMalformed:
        return None


@given(heads, placed)
@example("HTTP/1.1 200 OK\r\na: 1\r\na: 2\r\n", ("", 0))
@example("HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\n", ("\n", 22))
def test_what_is_taken_for_a_head_is_one_for_others_too_and_says_the_same(
    head: str, odd: tuple[str, int]
) -> None:
    letter, at = odd
    at %= len(head)
    begun = f"{head[:at]}{letter}{head[at:]}\r\n".encode("latin-1")
    text = begun.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    found = ours(text)

    if found is not None and found.status != 101:
        theirs = Theirs(text)
        assert (found.status, found.headers) == (theirs.status, theirs.headers)


@given(heads)
def test_an_ordinary_head_that_others_take_is_taken(head: str) -> None:
    text = f"{head}\r\n".encode("latin-1")
    try:
        Theirs(text)
    except (HttpParserError, HttpParserUpgrade):
        return

    asked_for = text.startswith((b"HTTP/1.1", b"HTTP/1.0")) and b"transfer-encoding" not in text
    assert ours(text) is not None or not asked_for


def test_a_length_has_as_many_digits_as_a_file_can() -> None:
    text = b"HTTP/1.1 200 OK\r\ncontent-length: %b\r\n\r\n"

    assert ours(text % (b"9" * MOST_DIGITS)) is not None
    assert ours(text % (b"9" * (MOST_DIGITS + 1))) is None
    assert ours(text % "²".encode("latin-1")) is None


@pytest.mark.parametrize("text", [b"a:%b\0", b"%b", b"a: b %b\n", b"a%b: b"])
def test_blanks_without_end_cost_no_more_than_any_head(text: bytes) -> None:
    began = time.thread_time()

    assert ours(b"HTTP/1.1 200 OK\r\n" + text % (b" " * LONGEST_HEAD) + b"\r\n\r\n") is None

    assert time.thread_time() - began < 0.5  # seconds of CPU; tried twice each, it were ten
