"""Durations, expirations, free text and timestamps: generous readers, one strict writer each."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.protocol import Malformed
from pannier.protocol.durations import LONGEST, format_duration, parse_duration
from pannier.protocol.expiration import MANUAL, Expiration
from pannier.protocol.text import decode_text, encode_text
from pannier.protocol.timestamps import format_timestamp, parse_timestamp

SECONDS = st.integers(0, LONGEST // timedelta(seconds=1)).map(lambda s: timedelta(seconds=s))
WRITABLE = st.text(st.characters(exclude_categories=["Cs"]))


@given(SECONDS)
def test_a_duration_of_whole_seconds_survives(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with suppress(Malformed):
        assert timedelta(0) <= parse_duration(text) <= LONGEST


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * 86_400),
        ("90 days", 90 * 86_400),
        ("1h 30m", 5_400),
        ("1d2h", 93_600),
        ("1.5d", 129_600),
        ("400 days 4711 seconds", 400 * 86_400 + 4711),
        ("0", 0),
        ("0s", 0),
        ("2w", 1_209_600),
        ("1M", 2_630_016),
        ("1year", 31_557_600),
        ("250ms", 0.25),
        ("3us", 0.000003),
        ("999ns", 0),
    ],
)
def test_a_duration_is_read_generously(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "30", "d", "-1d", "1x", "1D", "1h30", "1 2d", "1,5d", "1e3s", "nan", "1d;2h"),
        *("\N{ARABIC-INDIC DIGIT ONE}d", "106751991167301d", "1001y", "9" * 5000 + "d"),
        "9" * 150 + "ns",
    ],
)
def test_nonsense_and_overflow_are_no_durations(text: str) -> None:
    with pytest.raises(Malformed, match="duration"):
        parse_duration(text)


def test_a_duration_is_written_in_the_one_strict_form() -> None:
    assert format_duration(timedelta(days=400, seconds=4711)) == "400d 1h 18m 31s"
    assert format_duration(timedelta(hours=1)) == "1h"
    assert format_duration(timedelta(0)) == "0s"
    assert format_duration(timedelta(seconds=1, milliseconds=999)) == "1s"


def test_a_negative_duration_cannot_be_written() -> None:
    with pytest.raises(Malformed, match="negative"):
        format_duration(timedelta(seconds=-1))


@given(st.just(MANUAL) | SECONDS.map(Expiration.ttl) | SECONDS.map(Expiration.tti))
def test_an_expiration_survives(expiration: Expiration) -> None:
    assert Expiration.parse(str(expiration)) == expiration


@pytest.mark.parametrize(
    "text",
    ["", "never", "Manual", "TTL:1d", "ttl", "ttl:", "tti:-1d", "manual:1d", "ttl:1d ttl:1d"],
)
def test_other_expirations_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Expiration.parse(text)


def test_an_expiration_cannot_be_built_wrong() -> None:
    with pytest.raises(Malformed, match="need one"):
        Expiration("ttl")
    with pytest.raises(Malformed, match="negative"):
        Expiration.tti(timedelta(seconds=-1))


@given(WRITABLE)
def test_free_text_survives_a_header(text: str) -> None:
    value = encode_text(text)

    assert decode_text(value) == text
    assert value.isascii()
    assert value.isprintable()
    assert value == value.strip()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="%")))
def test_plain_text_is_sent_as_it_is(text: str) -> None:
    assert encode_text(text.strip()) == text.strip()
    assert decode_text(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("a b.txt", "a b.txt"), ("%C3%A9%25", "é%"), ("100%", "100%"), ("%zz", "%zz")],
)
def test_a_percent_sign_without_two_digits_stands_for_itself(value: str, text: str) -> None:
    assert decode_text(value) == text


@pytest.mark.parametrize("value", ["%FF", "%C0%AF", "\udcff"])
def test_text_that_is_no_utf8_is_refused(value: str) -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        decode_text(value)


def test_half_a_surrogate_pair_cannot_be_written() -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        encode_text("\ud800")


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_a_moment_survives_to_the_microsecond(us: int) -> None:
    assert parse_timestamp(format_timestamp(us)) == us


def test_a_timestamp_is_utc_with_microseconds() -> None:
    assert format_timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert format_timestamp(1_763_726_400_000_001) == "2025-11-21T12:00:00.000001Z"
    assert parse_timestamp("2025-11-21T13:00:00+01:00") == 1_763_726_400_000_000


@pytest.mark.parametrize("text", ["", "today", "2025-11-21", "2025-11-21T12:00:00"])
def test_a_timestamp_states_its_offset(text: str) -> None:
    with pytest.raises(Malformed, match="timestamp"):
        parse_timestamp(text)


def test_a_moment_beyond_the_calendar_cannot_be_written() -> None:
    with pytest.raises(Malformed, match="years"):
        format_timestamp(10**18)


def test_a_text_full_of_spaces_is_encoded_in_no_time() -> None:
    text = "a" + " " * 100_000 + "b"

    assert encode_text(text) == text
    assert encode_text("  a b ") == "%20%20a b%20"
    assert encode_text("   ") == "%20%20%20"
