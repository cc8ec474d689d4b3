"""Metadata: what a writer states survives its headers, and bad headers are named."""

import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.protocol import Malformed
from pannier.protocol.expiration import MANUAL, Expiration
from pannier.protocol.metadata import Metadata, check_content_type, parse_etag

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
STATED = st.builds(
    Metadata,
    content_type=st.sampled_from(["text/plain", 'multipart/x; boundary="a b"; q=1']),
    compression=st.sampled_from([None, "zstd"]),
    expiration=st.sampled_from([None, MANUAL, Expiration.ttl(timedelta(days=3))]),
    origin=st.none() | TEXTS,
    filename=st.none() | TEXTS,
    custom=st.dictionaries(st.text("abc-9_.", min_size=1, max_size=5), TEXTS, max_size=3),
)


@given(STATED)
def test_what_a_writer_states_survives_the_headers(metadata: Metadata) -> None:
    headers = metadata.to_request_headers()

    assert Metadata.from_request_headers(headers.items()) == metadata
    assert all(name == name.lower() for name in headers)


@given(STATED)
def test_metadata_pickles(metadata: Metadata) -> None:
    assert pickle.loads(pickle.dumps(metadata)) == metadata


def test_a_request_without_headers_states_nothing() -> None:
    assert Metadata.from_request_headers([]) == Metadata()
    assert Metadata().content_type == "application/octet-stream"
    assert Metadata().expiration is None


def test_custom_names_are_folded_and_the_last_value_counts() -> None:
    pairs = [("x-snme-Foo-Bar", "1"), ("X-SNME-FOO-BAR", "%C3%A9%25"), ("x-sn-origin", "")]

    metadata = Metadata.from_request_headers(pairs)

    assert metadata.custom == {"foo-bar": "é%"}
    assert metadata.origin == ""


def test_the_name_of_an_encoding_may_be_in_any_case() -> None:
    assert Metadata.from_request_headers([("Content-Encoding", "ZStd")]).compression == "zstd"


@pytest.mark.parametrize("first", ["zstd", "gzip", ""])
def test_encodings_on_several_lines_add_up_and_are_refused(first: str) -> None:
    with pytest.raises(Malformed, match=f"{first}, zstd"):
        Metadata.from_request_headers([("content-encoding", first), ("Content-Encoding", "zstd")])


def test_server_owned_headers_of_a_request_are_not_looked_at() -> None:
    pairs = [("x-sn-size", "many"), ("x-sn-time-created", "x"), ("x-sn-time-expires", "y")]

    assert Metadata.from_request_headers(pairs) == Metadata()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", ""),
        ("content-type", "text"),
        ("content-type", "text/plain; charset"),
        ("content-type", "text/plain\x7f"),
        ("content-encoding", "gzip"),
        ("content-encoding", ""),
        ("x-sn-expiration", "ttl"),
        ("x-sn-filename", "%FF"),
        ("x-snme-", "nameless"),
    ],
)
def test_a_malformed_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(Malformed):
        Metadata.from_request_headers([(name, value)])


def test_a_hostile_media_type_is_refused_at_once() -> None:
    with pytest.raises(Malformed, match="media type"):
        check_content_type("a/b" + "; " * 50_000 + "!" + " " * 50_000 + "\x00")


def test_a_response_tells_what_only_the_server_knows() -> None:
    metadata = Metadata.from_response_headers(
        [
            ("Content-Type", "text/plain"),
            ("ETag", '"abc"'),
            ("x-sn-time-created", "1970-01-01T00:00:01.000000Z"),
            ("x-sn-time-expires", "1970-01-01T00:00:02Z"),
            ("x-sn-size", "10"),
            ("x-pannier-original-size", "30"),
            ("x-unknown", "ignored"),
        ]
    )

    assert metadata == Metadata(
        content_type="text/plain",
        expiration=MANUAL,
        time_created=1_000_000,
        time_expires=2_000_000,
        size=10,
        original_size=30,
        etag="abc",
    )


@pytest.mark.parametrize("value", ["-1", "1.0", "", "9" * 5000, "\N{ARABIC-INDIC DIGIT THREE}"])
def test_a_size_is_a_whole_number(value: str) -> None:
    with pytest.raises(Malformed, match="x-sn-size"):
        Metadata.from_response_headers([("x-sn-size", value)])


@pytest.mark.parametrize(
    ("value", "etag"), [('"a"', "a"), ('""', ""), ('W/"a"', None), ("a", None), (None, None)]
)
def test_only_a_strong_etag_is_kept(value: str | None, etag: str | None) -> None:
    assert parse_etag(value) == etag


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "a\r\nb"])
def test_a_custom_name_must_be_a_header_name(name: str) -> None:
    with pytest.raises(Malformed, match="custom metadata name"):
        Metadata(custom={name: "x"}).to_request_headers()


def test_custom_names_that_differ_in_case_alone_are_refused() -> None:
    with pytest.raises(Malformed, match="twice"):
        Metadata(custom={"a": "1", "A": "2"}).to_request_headers()


def test_a_content_type_cannot_smuggle_a_header() -> None:
    with pytest.raises(Malformed, match="media type"):
        Metadata(content_type="text/plain\r\nx: y").to_request_headers()


def test_so_many_custom_fields_that_readers_would_give_up_are_refused() -> None:
    fields = {f"f{n}": "x" for n in range(65)}

    with pytest.raises(Malformed, match="65 custom metadata fields, at most 64"):
        Metadata.from_request_headers((f"x-snme-{name}", text) for name, text in fields.items())
    with pytest.raises(Malformed, match="at most 64"):
        Metadata(custom=fields).to_request_headers()


def test_custom_metadata_that_readers_would_choke_on_is_refused() -> None:
    with pytest.raises(Malformed, match="at most 16384"):
        Metadata.from_request_headers([("x-snme-a", "x" * 8000), ("x-snme-b", "\u00e9" * 5000)])
