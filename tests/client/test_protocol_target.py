"""The URL grammar: every key survives it, and nothing is normalised on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pannier.protocol import Malformed
from pannier.protocol.names import Scopes
from pannier.protocol.target import (
    Target,
    decode_part,
    encode_key,
    object_path,
    parse_query,
    parse_target,
)

KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(lambda key: len(key.encode()) <= 1024)
PLACE = "/v1/objects/abc/_"


def key_of(raw: str) -> str | None:
    target = parse_target(raw)
    assert target is not None
    return target.key


@given(KEYS)
def test_every_key_survives_the_path(key: str) -> None:
    path = object_path("abc", Scopes.of(org=1), key)

    assert parse_target(path) == Target("abc", Scopes.of(org=1), key, {})
    assert path.isascii()
    assert not set(path) & set(' ?#"<>\\^`{|}')


@given(st.text())
def test_any_target_is_read_or_refused_or_not_ours(raw: str) -> None:
    try:
        target = parse_target(PLACE + "/" + raw)
    except Malformed:
        return
    assert target is not None


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("a%2Fb", "a/b"),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("../../x", "../../x"),
        ("a/./b", "a/./b"),
        ("%2e%2e/x", "../x"),
        ("%25", "%"),
        ("%2520", "%20"),
        ("a;b=c+d&e", "a;b=c+d&e"),
        ("a#b", "a#b"),
        ("tail/", "tail/"),
        ("%C3%A9", "é"),
        ("é", "é"),
        ("%F0%9F%8E%92", "\N{SCHOOL SATCHEL}"),
    ],
)
def test_a_key_is_decoded_once_and_not_normalised(raw: str, key: str) -> None:
    assert key_of(f"{PLACE}/{raw}") == key


@pytest.mark.parametrize(
    "raw",
    [
        "%C0%AF",
        "%c0%ae%c0%ae/x",
        "%E0%80%AF",
        "%ED%A0%80",
        "%FF",
        "%",
        "%4",
        "%zz",
        "a%00b",
        "\udcff",
    ],
)
def test_a_key_that_is_no_utf8_or_badly_escaped_is_refused(raw: str) -> None:
    with pytest.raises(Malformed):
        parse_target(f"{PLACE}/{raw}")


def test_the_parts_before_the_key_are_decoded_after_the_split() -> None:
    target = parse_target("/v1/objects/%70robe/org%3D1;project=2/k")

    assert target == Target("probe", Scopes.of(org=1, project=2), "k", {})


def test_an_escaped_slash_does_not_split_the_scopes() -> None:
    with pytest.raises(Malformed, match="scope"):
        parse_target("/v1/objects/abc/org=1%2Fk")


@pytest.mark.parametrize("raw", [PLACE, PLACE + "/", PLACE + "?", PLACE + "/?"])
def test_a_target_without_a_key_is_the_collection(raw: str) -> None:
    assert parse_target(raw) == Target("abc", Scopes(), None, {})


@pytest.mark.parametrize(
    "raw",
    [
        *("", "*", "/", "/health", "/v1", "/v1/objects", "/v1/objects/", "/v1/objects/abc"),
        *("v1/objects/", "/v2/objects/abc/_/k", "/V1/objects/abc/_/k", "//v1/objects/abc/_"),
        *("/v1/objects:batch/abc/_/", "ftp://host/v1/objects/abc/_/k", "host:80", "http://host"),
        "http://host?/v1/objects/abc/_",
    ],
)
def test_what_is_no_route_is_none(raw: str) -> None:
    assert parse_target(raw) is None


@pytest.mark.parametrize("place", ["/v1/objects/ab/_", "/v1/objects//_/k", "/v1/objects/abc/"])
def test_a_malformed_place_on_our_route_is_refused(place: str) -> None:
    with pytest.raises(Malformed):
        parse_target(place)


@pytest.mark.parametrize("origin", ["http://host", "http://host:8650", "HTTPS://[::1]:80"])
def test_an_absolute_target_loses_scheme_and_authority(origin: str) -> None:
    assert key_of(f"{origin}{PLACE}/k") == "k"


def test_the_query_is_split_off_first_and_decoded_by_its_own_rules() -> None:
    target = parse_target(f"{PLACE}/a+b?upload_id=U+1&session=S%3D%3D&flag&x=1&x=2%2B")

    assert target is not None
    assert target.key == "a+b"
    assert target.query == {"upload_id": "U 1", "session": "S==", "flag": "", "x": "2+"}


def test_a_question_mark_in_a_query_belongs_to_it() -> None:
    assert parse_query("prefix=what?&limit=3") == {"prefix": "what?", "limit": "3"}


def test_a_broken_query_is_refused() -> None:
    with pytest.raises(Malformed, match="%25"):
        parse_target(f"{PLACE}?prefix=100%")


def test_sub_delimiters_are_not_escaped() -> None:
    assert encode_key("a b/%20;c") == "a%20b/%2520;c"
    assert encode_key("-._~/:@!$&'()*+,;=") == "-._~/:@!$&'()*+,;="


@given(st.text(st.characters(max_codepoint=127, exclude_characters="%")))
def test_a_part_without_escapes_is_itself(part: str) -> None:
    assert decode_part(part) == part
