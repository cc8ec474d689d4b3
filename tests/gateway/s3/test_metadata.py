"""What is kept beside the bytes, as headers and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import BadRequest, Damaged
from pannier_gateway.moments import LAST
from pannier_gateway.stores.base import Attributes, Record
from pannier_gateway.stores.s3.metadata import (
    MOST,
    OURS,
    headers_of,
    moment_of,
    stored_object,
    weight,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
AMOUNTS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, LAST)
ATTRIBUTES = st.builds(
    Attributes,
    content_type=st.sampled_from(["text/plain", "application/octet-stream", "", "té xt", " x"]),
    encoding=st.just("zstd"),
    by_client=st.booleans(),
    original_size=st.none() | AMOUNTS,
    decodable=st.booleans(),
    policy=st.sampled_from(["manual", "ttl", "tti"]),
    after=st.none() | AMOUNTS,
    origin=st.none() | TEXT,
    filename=st.none() | TEXT,
    custom=st.dictionaries(st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True), TEXT, max_size=5),
)
RECORDS = st.builds(
    Record, st.just("p"), AMOUNTS, st.just("e1"), TIMES, st.none() | TIMES, ATTRIBUTES
)
FOREIGN = {"content-length": "5", "etag": '"abc"', "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT"}


def record(**attributes: object) -> Record:
    return Record("p", 5, "e1", 7, None, Attributes(**attributes))  # type: ignore[arg-type]


def as_answered(headers: dict[str, str], size: int) -> dict[str, str]:
    """What an engine says of an object that was put with these."""
    return {**headers, "content-length": str(size), "etag": '"md5"'}


@given(RECORDS)
def test_a_record_comes_back_from_its_headers(kept: Record) -> None:
    headers = headers_of(kept)

    assert stored_object("p", as_answered(headers, kept.size)).record == kept


@given(RECORDS)
def test_headers_are_such_as_every_engine_gives_back(kept: Record) -> None:
    headers = headers_of(kept)

    assert weight({n: v for n, v in headers.items() if n.startswith("x-amz-meta-")}) <= MOST
    for name, text in headers.items():
        assert "_" not in name
        assert text.isascii()
        assert text.isprintable()
        assert text == text.strip()


def test_others_can_read_what_they_can_be_told() -> None:
    headers = headers_of(
        record(encoding="zstd", content_type="text/plain", custom={"color": "red"})
    )

    assert headers["content-type"] == "text/plain"
    assert headers["content-encoding"] == "zstd"
    assert headers["x-amz-meta-color"] == "red"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a_b", "x"), ("a", "é"), ("a", ""), ("a", " x"), ("a", "x  y"), ("a", "=?utf-8?q?x?=")],
)
def test_what_some_engine_would_rewrite_is_not_a_header_of_its_own(name: str, text: str) -> None:
    headers = headers_of(record(custom={name: text}))

    assert [each for each in headers if each.startswith("x-amz-meta-")] == [OURS]


def test_long_metadata_are_deflated_and_longer_ones_refused() -> None:
    long = record(custom={"a": "x" * 8192})
    assert stored_object("p", as_answered(headers_of(long), 5)).record == long

    noise = "".join(chr(0x4E00 + (i * 7919) % 20_000) for i in range(3000))
    with pytest.raises(BadRequest, match=r"\d+ bytes deflated"):
        headers_of(record(custom={"a": noise}))


def test_what_others_wrote_is_read_for_what_it_says() -> None:
    found = stored_object("p", {**FOREIGN, "x-amz-meta-a": "b", "content-encoding": "aws-chunked"})

    assert found.tag == '"abc"'
    assert found.record == Record(
        "p", 5, "abc", 1_700_000_000_000_000, None, Attributes(custom={"a": "b"})
    )


def test_zstd_of_others_is_their_clients_own() -> None:
    attributes = stored_object("p", {**FOREIGN, "content-encoding": "zstd"}).record.attributes

    assert (attributes.encoding, attributes.by_client) == ("zstd", True)


def test_the_size_of_a_part_is_that_of_the_whole() -> None:
    headers = {**FOREIGN, "content-range": "bytes 2-6/1234"}

    assert stored_object("p", headers).record.size == 1234


def ours(**said: object) -> dict[str, str]:
    """What is kept beside an object, with this in place of what we would have said."""
    return {**FOREIGN, OURS: json.dumps({"etag": "e1", "created": 5} | said)}


@pytest.mark.parametrize(
    "headers",
    [
        {**FOREIGN, OURS: "z:!"},
        {**FOREIGN, OURS: "{}"},
        {"etag": '"abc"'},
        *(ours(created=moment) for moment in (-1, 2**62, 253_402_300_800 * 10**6, 0.5)),
        *(ours(expires=moment) for moment in (-1, 2**62)),
        *(ours(**{name: amount}) for name in ("after", "original_size") for amount in (-1, 2**63)),
        ours(etag="e1\n"),
    ],
)
def test_a_description_that_is_none_is_damage(headers: dict[str, str]) -> None:
    with pytest.raises(Damaged):
        stored_object("p", headers)


def test_what_is_no_date_is_long_ago() -> None:
    assert moment_of("yesterday") == moment_of("") == 0
