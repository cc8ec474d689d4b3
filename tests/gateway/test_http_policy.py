"""What a usecase's policy means over HTTP: lifetimes, limits, switches, and no usecase at all."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.gateway import Gateway, running_gateway
from support.wire import Answer, Wire, chunked

WRITES = [("PUT", "k"), ("POST", ""), ("DELETE", "k")]
READS = [("GET", "k"), ("HEAD", "k"), ("GET", "")]


def ask(wire: Wire, place: str, method: str, key: str) -> Answer:
    return wire.ask(method, place + key, body=b"x" if method in ("PUT", "POST") else None)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def listed(wire: Wire, place: str) -> list[str]:
    return [each["key"] for each in json.loads(wire.ask("GET", place).body)["objects"]]


# Switches


@pytest.mark.parametrize(("method", "key"), WRITES + READS)
def test_a_usecase_that_nobody_declared_is_named_and_explained(
    wire: Wire, method: str, key: str
) -> None:
    answer = ask(wire, "/v1/objects/nobodys/_/", method, key)

    assert answer.status == 404
    if method != "HEAD":
        assert "'nobodys' is not declared" in answer.detail
        assert "apply a Usecase of that name" in answer.detail


@pytest.mark.parametrize(("method", "key"), WRITES + READS)
def test_a_usecase_that_was_left_out_says_why(wire: Wire, method: str, key: str) -> None:
    answer = ask(wire, "/v1/objects/Home_less/_/", method, key)

    assert answer.status == 404
    if method != "HEAD":
        assert "'Home_less' is declared but was refused: there is no Bucket" in answer.detail


@pytest.mark.parametrize(("method", "key"), WRITES)
def test_a_usecase_that_is_suspended_for_writes_takes_none(
    wire: Wire, scope: str, method: str, key: str
) -> None:
    answer = ask(wire, f"/v1/objects/no-writes/{scope}/", method, key)

    assert answer.status == 503
    assert "'no-writes' takes no writes (spec.suspend: Writes)" in answer.detail
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("usecase", ["no-writes", "archived"])
def test_where_no_writes_are_taken_reads_are(wire: Wire, scope: str, usecase: str) -> None:
    place = f"/v1/objects/{usecase}/{scope}/"

    assert [ask(wire, place, *each).status for each in READS] == [404, 404, 200]


@pytest.mark.parametrize(("method", "key"), WRITES + READS)
def test_a_usecase_that_is_suspended_serves_nothing(
    wire: Wire, scope: str, method: str, key: str
) -> None:
    answer = ask(wire, f"/v1/objects/all-off/{scope}/", method, key)

    assert answer.status == 503
    assert method == "HEAD" or "suspend: All" in answer.detail


@pytest.mark.parametrize(("method", "key"), WRITES)
def test_a_read_only_bucket_refuses_writes(wire: Wire, scope: str, method: str, key: str) -> None:
    answer = ask(wire, f"/v1/objects/archived/{scope}/", method, key)

    assert answer.status == 403
    assert "bucket 'archive' is read-only" in answer.detail


@pytest.mark.parametrize(("method", "key"), WRITES + READS)
def test_a_bucket_that_cannot_be_served_costs_only_its_own_usecases(
    wire: Wire, plain: str, scope: str, method: str, key: str
) -> None:
    answer = ask(wire, f"/v1/objects/far-away/{scope}/", method, key)

    assert answer.status == 503
    assert method == "HEAD" or "default/elsewhere" in answer.detail
    assert wire.ask("PUT", plain + "k", body=b"x").status == 200


# Limits


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(100_000, 200), (100_001, 413)])
def test_an_object_may_be_as_large_as_the_usecase_says(
    wire: Wire, scope: str, framing: str, size: int, status: int
) -> None:
    path = f"/v1/objects/limited/{scope}/k"
    if framing == "sized":
        answer = wire.ask("PUT", path, body=bytes(size))
    else:
        answer = wire.ask("PUT", path, {"transfer-encoding": "chunked"}, chunked(bytes(size)))

    assert answer.status == status
    assert status == 200 or "100000 bytes (limits.maxObjectBytes)" in answer.detail
    assert wire.ask("HEAD", path).status == (200 if status == 200 else 404)


# Lifetimes


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, "ttl:30m"),
        ("ttl:1h", "ttl:1h"),
        ("ttl:59 minutes 60 seconds", "ttl:1h"),
        ("ttl:5s", "ttl:5s"),
        ("tti:2d", "tti:2d"),
    ],
)
def test_a_lifetime_within_bounds_is_kept(
    wire: Wire, scope: str, asked: str | None, given: str
) -> None:
    path = f"/v1/objects/bounded/{scope}/k"
    wire.ask("PUT", path, {} if asked is None else {"x-sn-expiration": asked}, b"x")

    assert wire.ask("HEAD", path).headers["x-sn-expiration"] == given


@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        ("ttl:1h 1s", "ttl up to 1h (maxAfter)"),
        ("ttl:1h 1us", "ttl up to 1h (maxAfter)"),
        ("tti:1000 years", "tti up to 2d (maxAfter)"),
        ("manual", "allowed are ttl, tti (allowedExpirations)"),
    ],
)
def test_a_lifetime_outside_its_bounds_is_refused_with_the_bound(
    wire: Wire, scope: str, asked: str, bound: str
) -> None:
    path = f"/v1/objects/bounded/{scope}/k"

    answer = wire.ask("PUT", path, {"x-sn-expiration": asked}, b"x")

    assert answer.status == 400
    assert bound in answer.detail
    assert wire.ask("HEAD", path).status == 404


def test_without_bounds_any_lifetime_is_kept(wire: Wire, plain: str) -> None:
    for asked in ("ttl:1000 years", "tti:366d", "manual"):
        assert wire.ask("PUT", plain + asked[:3], {"x-sn-expiration": asked}, b"x").status == 200

    assert {"x-sn-expiration", "x-sn-time-expires"}.isdisjoint(
        wire.ask("HEAD", plain + "man").headers
    )


def test_a_time_to_live_counts_from_the_write_and_is_not_moved_by_reads(
    wire: Wire, plain: str
) -> None:
    wire.ask("PUT", plain + "k", {"x-sn-expiration": "ttl:90m"}, b"x")

    first, again = wire.ask("GET", plain + "k").headers, wire.ask("GET", plain + "k").headers
    lived = moment(first["x-sn-time-expires"]) - moment(first["x-sn-time-created"])
    assert lived == timedelta(minutes=90)
    assert again["x-sn-time-expires"] == first["x-sn-time-expires"]


@pytest.fixture
def expired(wire: Wire, plain: str) -> str:
    """An object whose time came while it could be listed."""
    wire.ask("PUT", plain + "k", {"x-sn-expiration": "ttl:150ms"}, b"x")
    while listed(wire, plain):
        pass
    return plain + "k"


def test_an_expired_object_is_gone_for_every_method(wire: Wire, expired: str) -> None:
    assert wire.ask("GET", expired).status == 404
    assert wire.ask("HEAD", expired).status == 404
    assert wire.ask("GET", expired, {"range": "bytes=0-0"}).status == 404
    assert wire.ask("PUT", expired, {"if-match": "*"}, b"new").status == 412
    assert wire.ask("DELETE", expired, {"if-match": "*"}).status == 412
    assert wire.ask("DELETE", expired).status == 204


def test_an_expired_object_makes_room_for_a_new_one(wire: Wire, expired: str) -> None:
    assert wire.ask("PUT", expired, {"if-none-match": "*"}, b"new").status == 200
    assert wire.ask("GET", expired).body == b"new"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_extends_an_idle_time_and_tells_the_deadline_before_that(
    wire: Wire, plain: str, method: str
) -> None:
    wire.ask("PUT", plain + "k", {"x-sn-expiration": "tti:2s"}, b"x")
    created = moment(wire.ask(method, plain + "k").headers["x-sn-time-created"])

    deadline = first = created + timedelta(seconds=2)
    while deadline == first:
        read = datetime.now(UTC)
        deadline = moment(wire.ask(method, plain + "k").headers["x-sn-time-expires"])

    assert read - created > timedelta(milliseconds=500)  # a quarter of it
    assert first < deadline < read + timedelta(seconds=2)


def test_a_read_that_comes_early_moves_nothing(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", {"x-sn-expiration": "tti:10d"}, b"x")

    deadlines = {wire.ask("GET", plain + "k").headers["x-sn-time-expires"] for _ in range(20)}
    assert len(deadlines) == 1


# The sweeper


@pytest.fixture
def sweeping(tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path / "data", extra_args=["--sweep-interval", "0.1"]) as gateway:
        yield gateway


def test_what_has_expired_leaves_the_disk_by_itself(sweeping: Gateway, tmp_path: Path) -> None:
    def swept() -> bool:
        return sweeping.metric("pannier_swept_objects_total") == 2

    with Wire(sweeping.url) as wire:
        for key in range(3):
            expiration = {"x-sn-expiration": "ttl:1s" if key else "ttl:1h"}
            wire.ask("PUT", f"/v1/objects/media/_/{key}", expiration, bytes(2 << 20))

        while not swept():
            pass
        assert wire.ask("GET", "/v1/objects/media/_/0").body == bytes(2 << 20)
    assert len(list((tmp_path / "data").rglob("bodies/*/*"))) == 1
