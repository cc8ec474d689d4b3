"""The head of an answer as it goes over the wire: names as given, which is lowercase."""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus

from pannier_gateway.clock import system_clock
from pannier_gateway.dates import http_date

SECOND = 1_000_000  # microseconds


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Raises ValueError for a header that would end its line."""
    given = "".join([*headers, *headers.values()])
    if "\n" in given or "\r" in given:
        raise ValueError(f"a line break in a header of {sorted(headers)}")
    opening = opening_lines(status, system_clock() // SECOND)
    return "\r\n".join([opening, *map(": ".join, headers.items()), "", ""]).encode("ascii")


@lru_cache(maxsize=64)
def opening_lines(status: int, second: int) -> str:
    """What all answers of that status and second (since the epoch) begin with."""
    date = http_date(second * SECOND)
    phrase = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\nserver: pannier\r\ndate: {date}"
