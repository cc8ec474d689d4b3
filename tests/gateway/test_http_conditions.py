"""Conditional requests over HTTP: entity tags, dates, and who wins a race."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate, parsedate_to_datetime
from threading import Barrier

import pytest

from support.gateway import Gateway
from support.wire import Wire, exchange, head
from support.zstd_bodies import text

PAST = "Sat, 01 Jan 2000 00:00:00 GMT"
FUTURE = formatdate(time.time() + 86_400, usegmt=True)
TEXT = text(50_000)
OTHER = '"other"'


@pytest.fixture
def etag(wire: Wire, plain: str) -> str:
    """The tag of an object `k` that holds `bytes`."""
    return wire.ask("PUT", plain + "k", body=b"bytes").headers["etag"]


def test_a_write_tells_the_tag_that_reads_show(wire: Wire, plain: str, etag: str) -> None:
    assert etag.startswith('"')
    for method in ("GET", "HEAD"):
        assert wire.ask(method, plain + "k").headers["etag"] == etag
    assert wire.ask("POST", plain, body=b"x").headers["etag"].startswith('"')


def test_the_tag_changes_with_every_write(wire: Wire, plain: str, etag: str) -> None:
    other = wire.ask("PUT", plain + "k", body=b"other").headers["etag"]

    wire.ask("DELETE", plain + "k")
    again = wire.ask("PUT", plain + "k", body=b"later").headers["etag"]
    assert len({etag, other, again}) == 3


@pytest.mark.usefixtures("etag")
def test_last_modified_is_when_it_was_written(wire: Wire, plain: str) -> None:
    headers = wire.ask("GET", plain + "k").headers

    moment = parsedate_to_datetime(headers["last-modified"])
    assert headers["x-sn-time-created"].startswith(moment.strftime("%Y-%m-%dT%H:%M:%S."))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if-match": "{etag}"}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": f"{OTHER}, {{etag}}"}, 200),
        ({"if-match": OTHER}, 412),
        ({"if-match": "W/{etag}"}, 412),
        ({"if-none-match": "{etag}"}, 304),
        ({"if-none-match": "W/{etag}"}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": f"{OTHER},{{etag}}"}, 304),
        ({"if-none-match": OTHER}, 200),
        ({"if-modified-since": PAST}, 200),
        ({"if-modified-since": "{date}"}, 304),
        ({"if-modified-since": FUTURE}, 304),
        ({"if-unmodified-since": PAST}, 412),
        ({"if-unmodified-since": "{date}"}, 200),
        ({"if-unmodified-since": FUTURE}, 200),
        ({"if-match": "{etag}", "if-unmodified-since": PAST}, 200),
        ({"if-match": OTHER, "if-unmodified-since": FUTURE}, 412),
        ({"if-none-match": OTHER, "if-modified-since": FUTURE}, 200),
        ({"if-none-match": "{etag}", "if-modified-since": PAST}, 304),
        ({"if-match": OTHER, "if-none-match": "{etag}"}, 412),
        ({"if-match": "{etag}", "if-none-match": "{etag}"}, 304),
        ({"if-unmodified-since": PAST, "if-none-match": "{etag}"}, 412),
        ({"if-modified-since": "no date"}, 200),
        ({"if-unmodified-since": "no date"}, 200),
        ({"if-match": "untagged"}, 400),
        ({"if-none-match": ""}, 400),
    ],
)
def test_a_read_obeys_its_conditions_in_their_order(
    wire: Wire, plain: str, etag: str, method: str, conditions: dict[str, str], status: int
) -> None:
    date = wire.ask("HEAD", plain + "k").headers["last-modified"]
    sent = {name: text.format(etag=etag, date=date) for name, text in conditions.items()}

    answer = wire.ask(method, plain + "k", sent)

    assert answer.status == status
    if method == "GET" and status == 200:
        assert answer.body == b"bytes"


def test_304_repeats_what_a_cache_needs_and_has_no_body(wire: Wire, packed: str) -> None:
    wire.ask("PUT", packed + "k", {"x-sn-expiration": "ttl:1h"}, TEXT)
    full = wire.ask("GET", packed + "k").headers

    answer = wire.ask("GET", packed + "k", {"if-none-match": full["etag"]})

    assert answer.status == 304
    for name in ("etag", "last-modified", "vary", "x-sn-time-expires"):
        assert answer.headers[name] == full[name]
    assert {"content-length", "content-range", "transfer-encoding"}.isdisjoint(answer.headers)
    assert wire.ask("GET", packed + "k").body == TEXT


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    ("conditions", "passes"),
    [
        ({"if-match": "{etag}"}, True),
        ({"if-match": "*"}, True),
        ({"if-match": OTHER}, False),
        ({"if-match": "W/{etag}"}, False),
        ({"if-none-match": "*"}, False),
        ({"if-none-match": "{etag}"}, False),
        ({"if-none-match": OTHER}, True),
        ({"if-unmodified-since": PAST}, False),
        ({"if-unmodified-since": FUTURE}, True),
        ({"if-modified-since": FUTURE}, True),
        ({"if-match": "{etag}", "if-unmodified-since": PAST}, True),
        ({"if-match": "{etag}", "if-none-match": "{etag}"}, False),
    ],
)
def test_a_write_over_an_object_obeys_its_conditions(
    wire: Wire, plain: str, etag: str, method: str, conditions: dict[str, str], passes: bool
) -> None:
    sent = {name: text.format(etag=etag) for name, text in conditions.items()}

    answer = wire.ask(method, plain + "k", sent, b"new" if method == "PUT" else None)

    after = {"PUT": (200, b"new"), "DELETE": (404, b"")}[method] if passes else (200, b"bytes")
    got = wire.ask("GET", plain + "k")
    assert (answer.status == 412) != passes
    assert (got.status, got.body) == after


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"if-none-match": "*"}, 200),
        ({"if-none-match": OTHER}, 200),
        ({"if-match": "*"}, 412),
        ({"if-match": OTHER}, 412),
    ],
)
def test_a_write_where_nothing_is_obeys_its_conditions(
    wire: Wire, plain: str, conditions: dict[str, str], status: int
) -> None:
    assert wire.ask("PUT", plain + "k", conditions, b"new").status == status
    assert wire.ask("GET", plain + "k").status == (200 if status == 200 else 404)


@pytest.mark.usefixtures("etag")
def test_a_condition_that_fails_says_so_in_words(wire: Wire, plain: str) -> None:
    answer = wire.ask("PUT", plain + "k", {"if-none-match": "*"}, b"new")

    assert answer.status == 412
    assert answer.detail


def test_of_many_that_create_at_once_exactly_one_does(gateway: Gateway, plain: str) -> None:
    writers, rounds = 8, 5
    start = Barrier(writers)

    def create(number: int) -> list[tuple[int, bytes]]:
        body = b"%d" % number * (100_000 if number % 2 else 1)
        with Wire(gateway.url) as wire:
            outcomes = []
            for key in range(rounds):
                start.wait()
                answer = wire.ask("PUT", f"{plain}{key}", {"if-none-match": "*"}, body)
                outcomes.append((answer.status, body))
            return outcomes

    with ThreadPoolExecutor(writers) as threads:
        outcomes = list(threads.map(create, range(writers)))

    for key, raced in enumerate(zip(*outcomes, strict=True)):
        assert Counter(status for status, _ in raced) == {200: 1, 412: writers - 1}
        (winner,) = (body for status, body in raced if status == 200)
        assert exchange(gateway.url, "GET", f"{plain}{key}").body == winner


def test_read_modify_write_under_if_match_loses_no_update(gateway: Gateway, plain: str) -> None:
    exchange(gateway.url, "PUT", plain + "counter", body=b"0")

    def increment(_: int) -> None:
        with Wire(gateway.url) as wire:
            status = 412
            while status == 412:
                seen = wire.ask("GET", plain + "counter")
                body = b"%d" % (int(seen.body) + 1)
                condition = {"if-match": seen.headers["etag"]}
                status = wire.ask("PUT", plain + "counter", condition, body).status

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(increment, range(24)))

    assert exchange(gateway.url, "GET", plain + "counter").body == b"24"


@pytest.mark.parametrize("waiting", [{"expect": "100-continue"}, {}], ids=["waiting", "sending"])
@pytest.mark.parametrize("condition", [{"if-none-match": "*"}, {"if-match": OTHER}])
@pytest.mark.usefixtures("etag")
def test_a_write_in_vain_is_refused_before_its_body_is_sent(
    wire: Wire, plain: str, condition: dict[str, str], waiting: dict[str, str]
) -> None:
    framing = {"content-length": "50000"}
    wire.send(head("PUT", plain + "k", framing | condition | waiting))

    assert wire.answer().status == 412


def test_a_write_that_no_condition_could_save_is_refused_for_what_it_is(
    wire: Wire, scope: str
) -> None:
    wire.send(
        head(
            "PUT",
            f"/v1/objects/limited/{scope}/k",
            {"content-length": "100001", "if-match": "*"},
        )
    )

    assert wire.answer().status == 413


def test_a_write_that_loses_the_race_while_it_sends_is_refused_in_the_end(
    gateway: Gateway, wire: Wire, plain: str
) -> None:
    framing = {"content-length": "5", "if-none-match": "*", "expect": "100-continue"}
    wire.send(head("PUT", plain + "k", framing))
    assert wire.interim() == 100
    exchange(gateway.url, "PUT", plain + "k", body=b"first")

    wire.send(b"later")

    assert wire.answer().status == 412
    assert exchange(gateway.url, "GET", plain + "k").body == b"first"


def test_tags_on_several_lines_count_together(wire: Wire, plain: str, etag: str) -> None:
    for one, other in ((etag, OTHER), (OTHER, etag)):
        known = {"if-none-match": one, "If-None-Match": other}
        assert wire.ask("GET", plain + "k", known).status == 304
        guard = {"if-match": one, "If-Match": other}
        assert wire.ask("GET", plain + "k", guard).status == 200


# One tag for each representation


def test_each_representation_has_a_tag_of_its_own(wire: Wire, packed: str) -> None:
    put = wire.ask("PUT", packed + "k", body=TEXT).headers["etag"]

    plain = wire.ask("GET", packed + "k").headers["etag"]
    encoded = wire.ask("GET", packed + "k", {"accept-encoding": "zstd"}).headers["etag"]
    assert plain == put
    assert encoded != plain


def test_the_tag_of_any_representation_guards_a_write(wire: Wire, packed: str) -> None:
    for accept in ("identity", "zstd"):
        wire.ask("PUT", packed + "k", body=TEXT)
        etag = wire.ask("GET", packed + "k", {"accept-encoding": accept}).headers["etag"]
        assert wire.ask("PUT", packed + "k", {"if-match": etag}, TEXT).status == 200
        assert wire.ask("PUT", packed + "k", {"if-match": etag}, TEXT).status == 412


def test_a_cache_is_told_about_the_representation_it_asks_for(wire: Wire, packed: str) -> None:
    wire.ask("PUT", packed + "k", body=TEXT)
    for accept in ("identity", "zstd"):
        etag = wire.ask("GET", packed + "k", {"accept-encoding": accept}).headers["etag"]
        again = {"accept-encoding": accept, "if-none-match": etag}
        answer = wire.ask("GET", packed + "k", again)
        assert (answer.status, answer.headers["etag"]) == (304, etag)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_tag_of_another_representation_is_not_the_one_asked_for(
    wire: Wire, packed: str, method: str
) -> None:
    wire.ask("PUT", packed + "k", body=TEXT)
    codings = ("identity", "zstd")
    tags = [wire.ask("GET", packed + "k", {"accept-encoding": c}).headers["etag"] for c in codings]

    for coding, other in zip(codings, reversed(tags), strict=True):
        asked = {"accept-encoding": coding}
        assert wire.ask(method, packed + "k", asked | {"if-none-match": other}).status == 200
        spliced = wire.ask(method, packed + "k", asked | {"if-match": other, "range": "bytes=0-9"})
        assert spliced.status == 412


# If-Range


@pytest.mark.parametrize(
    ("validator", "status"),
    [
        ("{etag}", 206),
        ("{date}", 200),  # two versions may share a second
        (OTHER, 200),
        ("W/{etag}", 200),
        (PAST, 200),
        (FUTURE, 200),
        ("nonsense", 200),
    ],
    ids=["its tag", "its date", "another tag", "weak", "past", "future", "nonsense"],
)
def test_a_range_counts_only_for_the_version_it_was_meant_for(
    wire: Wire, plain: str, etag: str, validator: str, status: int
) -> None:
    date = wire.ask("HEAD", plain + "k").headers["last-modified"]
    sent = {"range": "bytes=1-2", "if-range": validator.format(etag=etag, date=date)}

    answer = wire.ask("GET", plain + "k", sent)

    assert answer.status == status
    assert answer.body == (b"yt" if status == 206 else b"bytes")


def test_a_range_of_one_representation_is_not_spliced_into_another(wire: Wire, packed: str) -> None:
    wire.ask("PUT", packed + "k", body=TEXT)
    encoded = wire.ask("GET", packed + "k", {"accept-encoding": "zstd"}).headers["etag"]

    answer = wire.ask("GET", packed + "k", {"range": "bytes=0-9", "if-range": encoded})

    assert (answer.status, answer.body) == (200, TEXT)
