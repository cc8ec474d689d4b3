"""Listing a collection over HTTP: order, pages, prefixes, and what it never shows."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.gateway import Gateway
from support.wire import Wire, exchange
from support.zstd_bodies import text

Json = dict[str, Any]

KEYS = ["A", "a", "a/1", "a/2", "a/2/x", "a//", "b", "b/1", "z%25", "é", "e\u0301", "\uffee", "🎒"]


def page(wire: Wire, place: str, **query: object) -> Json:
    answer = wire.ask("GET", f"{place}?{urlencode(query)}")
    assert answer.status == 200, answer
    found = json.loads(answer.body)
    assert found.keys() == {"objects", "prefixes", "next"}
    return dict(found)


def pages(wire: Wire, place: str, **query: object) -> Iterator[Json]:
    after: Json = {}
    while True:
        found = page(wire, place, **query, **after)
        yield found
        if found["next"] is None:
            return
        after = {"start_after": found["next"]}


def keys(found: Json) -> list[str]:
    return [each["key"] for each in found["objects"]]


@pytest.fixture(scope="module")
def filled(gateway: Gateway) -> str:
    """Where KEYS lie."""
    place = "/v1/objects/plain/kept=keys/"
    with Wire(gateway.url) as wire:
        for key in KEYS:
            wire.ask("PUT", place + encoded(key), body=key.encode())
    return place


def encoded(key: str) -> str:
    return urlencode({"": key}).removeprefix("=").replace("+", "%20").replace("%2F", "/")


def test_a_collection_lists_its_keys_in_the_order_of_their_bytes(wire: Wire, filled: str) -> None:
    found = page(wire, filled)

    assert keys(found) == sorted(KEYS, key=str.encode)
    assert (found["prefixes"], found["next"]) == ([], None)


def test_an_empty_collection_is_an_empty_page(wire: Wire, plain: str) -> None:
    for place in (plain, plain.rstrip("/")):
        assert page(wire, place) == {"objects": [], "prefixes": [], "next": None}


def test_an_entry_tells_what_head_tells(wire: Wire, packed: str) -> None:
    metadata = {
        "content-type": "text/plain",
        "x-sn-expiration": "ttl:1h",
        "x-sn-filename": "na%C3%AFve",
        "x-sn-origin": "here",
    }
    body = text(5000)
    wire.ask("PUT", packed + "k", metadata, body)
    head = wire.ask("HEAD", packed + "k").headers

    (entry,) = page(wire, packed)["objects"]

    assert entry == {
        "key": "k",
        "size": int(head["x-sn-size"]),
        "etag": head["etag"].strip('"'),
        "content_type": "text/plain",
        "time_created": head["x-sn-time-created"],
        "time_expires": head["x-sn-time-expires"],
        "compression": "zstd",
        "original_size": len(body),
        "filename": "naïve",
        "origin": "here",
    }


@pytest.mark.parametrize("limit", [1, 2, 5, len(KEYS), 1000])
def test_pages_hold_at_most_the_limit_and_lose_nothing(wire: Wire, filled: str, limit: int) -> None:
    found = list(pages(wire, filled, limit=limit))

    assert all(len(each["objects"]) <= limit for each in found)
    assert [key for each in found for key in keys(each)] == sorted(KEYS, key=str.encode)
    assert len(found) == -(-len(KEYS) // limit)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/2", "a//", "b/1", "z%", "é", "none", "A"])
def test_a_prefix_is_bytes_and_nothing_more(wire: Wire, filled: str, prefix: str) -> None:
    expected = [key for key in sorted(KEYS, key=str.encode) if key.startswith(prefix)]

    assert keys(page(wire, filled, prefix=prefix)) == expected


@pytest.mark.parametrize("after", ["", "a", "a/", "a/1", "aa", "é", "🎒", "zzz"])
def test_a_page_starts_after_any_key_there_or_not(wire: Wire, filled: str, after: str) -> None:
    expected = [k for k in sorted(KEYS, key=str.encode) if k.encode() > after.encode()]

    assert keys(page(wire, filled, start_after=after)) == expected


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_a_delimiter_folds_what_lies_behind_it(wire: Wire, filled: str, limit: int) -> None:
    found = list(pages(wire, filled, delimiter="/", limit=limit))

    folded = [prefix for each in found for prefix in each["prefixes"]]
    assert folded == ["a/", "b/"]
    own = [key for key in sorted(KEYS, key=str.encode) if "/" not in key]
    assert [key for each in found for key in keys(each)] == own
    assert all(len(each["objects"]) + len(each["prefixes"]) <= limit for each in found)


def test_a_delimiter_is_searched_behind_the_prefix(wire: Wire, filled: str) -> None:
    found = page(wire, filled, delimiter="/", prefix="a/")

    assert found["prefixes"] == ["a//", "a/2/"]
    assert keys(found) == ["a/1", "a/2"]


def test_any_question_is_answered_as_a_sorted_list_would(gateway: Gateway, filled: str) -> None:
    parts = st.sampled_from(["", *KEYS, "a/2/", "a/b", "c", "\U0010ffff"])

    @given(parts, parts, st.sampled_from(["", "/", "/2", "1"]), st.integers(1, 5))
    def any_question(prefix: str, after: str, delimiter: str, limit: int) -> None:
        seen: list[str] = []
        with Wire(gateway.url) as wire:
            question = {"prefix": prefix, "delimiter": delimiter, "limit": limit}
            start: Json = {"start_after": after}
            while start["start_after"] is not None:
                found = page(wire, filled, **question, **start)
                seen += keys(found) + found["prefixes"]
                start = {"start_after": found["next"]}
        assert sorted(seen) == sorted(answer_of_a_list(prefix, after, delimiter))

    any_question()


def answer_of_a_list(prefix: str, after: str, delimiter: str) -> set[str]:
    found = set()
    for key in KEYS:
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = key if cut < 0 else key[: cut + len(delimiter)]
        if entry != after:
            found.add(entry)
    return found


def test_collections_are_apart(wire: Wire, scope: str) -> None:
    ours, inner = f"/v1/objects/plain/{scope}/", f"/v1/objects/plain/{scope};more=1/"
    other = f"/v1/objects/packed/{scope}/"
    for number, place in enumerate((ours, inner, other)):
        wire.ask("PUT", f"{place}{number}", body=b"x")

    assert [keys(page(wire, place)) for place in (ours, inner, other)] == [["0"], ["1"], ["2"]]


def test_the_expired_and_the_deleted_are_gone_at_once(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "expired", {"x-sn-expiration": "ttl:0"}, b"x")
    wire.ask("PUT", plain + "folded/expired", {"x-sn-expiration": "ttl:1us"}, b"x")
    wire.ask("PUT", plain + "deleted", body=b"x")
    wire.ask("DELETE", plain + "deleted")
    wire.ask("PUT", plain + "kept", body=b"x")

    assert keys(page(wire, plain)) == ["kept"]
    assert page(wire, plain, delimiter="/")["prefixes"] == []


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1001", "ten", "", "1.0", "+1", "٣", "1" + "0" * 5000, "0" * 9 + "1"]
)
def test_a_limit_that_is_none_is_refused_in_words(wire: Wire, plain: str, limit: str) -> None:
    answer = wire.ask("GET", f"{plain}?{urlencode({'limit': limit})}")

    assert answer.status == 400
    assert "1 to 1000" in answer.detail


@pytest.mark.parametrize("name", ["lmit", "Prefix", "start-after", "", "continuation-token", "\0"])
def test_what_a_list_does_not_take_is_refused_with_what_it_takes(
    wire: Wire, filled: str, name: str
) -> None:
    answer = wire.ask("GET", f"{filled}?limit=1&{urlencode({name: 'a'})}")

    assert answer.status == 400
    assert answer.detail.endswith(
        f"a list takes prefix, limit, start_after, delimiter: {name!r} is none of them"
    )


def test_a_signed_url_lists_like_any_other(wire: Wire, filled: str) -> None:
    assert keys(page(wire, filled, os_auth="e.y.J", os_sig="c2ln")) == keys(page(wire, filled))


@pytest.mark.parametrize("name", ["prefix", "start_after", "delimiter"])
@pytest.mark.parametrize("value", ["%00", "%F4%8F%BF%BF", "k" * 4000, "%EE%80%80", "%ED%9F%BF"])
def test_a_question_about_odd_text_is_answered(
    wire: Wire, filled: str, name: str, value: str
) -> None:
    answer = wire.ask("GET", f"{filled}?{name}={value}")

    assert answer.status in (200, 400)
    assert json.loads(answer.body)


def test_a_new_key_shows_in_the_next_page_and_is_not_told_twice(wire: Wire, plain: str) -> None:
    for key in ("a", "c", "e"):
        wire.ask("PUT", plain + key, body=b"x")
    first = page(wire, plain, limit=2)
    for key in ("b", "d"):
        wire.ask("PUT", plain + key, body=b"x")

    second = page(wire, plain, start_after=first["next"])
    assert (keys(first), keys(second)) == (["a", "c"], ["d", "e"])


def test_a_page_has_a_thousand_entries_unless_asked_for_less(wire: Wire, plain: str) -> None:
    for start in range(0, 1100, 100):
        for number in range(start, start + 100):
            wire.send(f"PUT {plain}{number:04} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert {wire.answer().status for _ in range(100)} == {200}

    assert [len(each["objects"]) for each in pages(wire, plain)] == [1000, 100]


def test_a_page_of_objects_that_say_much_ends_early_and_nothing_is_lost(
    wire: Wire, plain: str
) -> None:
    told = {f"x-snme-{number}": "x" * 8000 for number in range(2)}
    for number in range(200):
        assert wire.ask("PUT", f"{plain}{number:03}", told, body=b"x").status == 200

    found = list(pages(wire, plain))

    assert len(found) == 2  # of 2 MiB each at most
    assert [key for each in found for key in keys(each)] == [f"{n:03}" for n in range(200)]


def test_head_of_a_collection_is_not_offered(gateway: Gateway, plain: str) -> None:
    assert exchange(gateway.url, "HEAD", plain).status == 405
