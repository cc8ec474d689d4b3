"""The head of an answer as it goes over the wire: names as given, which is lowercase."""

from collections.abc import Mapping
from http import HTTPStatus

from pannier.version import __version__
from pannier_gateway.clock import system_clock
from pannier_gateway.dates import http_date

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\nserver: pannier/{__version__}\r\n"
    for status in HTTPStatus
}
FIXED_LINES = 4  # status, server, date, and the empty one


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Raises ValueError for a header that would end its line."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    date = http_date(system_clock())
    head = f"{STATUS_LINES[status]}date: {date}\r\n{''.join(lines)}\r\n"
    expected = len(lines) + FIXED_LINES
    if head.count("\n") != expected or head.count("\r") != expected:
        raise ValueError(f"a line break in a header of {sorted(headers)}")
    return head.encode("ascii")
