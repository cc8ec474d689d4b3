"""Dates as HTTP writes them: three forms are read, one is written."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.dates import http_date, parse_date, seconds_to_wait

THEN = 784_111_777_000_000
WRITTEN = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    "text", [WRITTEN, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", f" {WRITTEN}\t"]
)
def test_all_three_forms_of_an_http_date_are_read(text: str) -> None:
    assert parse_date(text) == THEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "784111777",
    ],
)
def test_anything_else_is_no_date(text: str) -> None:
    assert parse_date(text) is None


def test_a_two_digit_year_lies_no_more_than_50_years_ahead() -> None:
    now = datetime.now(UTC).year
    for ahead in (-49, -1, 0, 1, 50):
        moment = parse_date(f"Sunday, 01-Jan-{(now + ahead) % 100:02} 00:00:00 GMT")

        assert moment == int(datetime(now + ahead, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 1, 1)))
def test_a_date_written_is_a_date_read(moment: datetime) -> None:
    us = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)

    assert parse_date(http_date(us)) == us // 1_000_000 * 1_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:01:10 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_when_to_ask_again_is_told_in_seconds_or_as_a_date(
    text: str | None, seconds: float | None
) -> None:
    assert seconds_to_wait(text, now=60.0) == seconds
