"""The published client of the protocol, as it comes from the registry, against a real gateway."""

import io
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import urllib3
import zstandard
from objectstore_client import (
    Client,
    Compression,
    RequestError,
    Session,
    TimeToIdle,
    TimeToLive,
    Usecase,
)
from urllib3.exceptions import HTTPError

from support.gateway import Gateway, running_gateway
from support.zstd_bodies import decoded, noise, streamed, text

TEXT = text(300_000)
NOISE = noise(300_000)
LARGE = (text(1 << 20) * 5)[:-321]
BODIES = {"empty": b"", "byte": b"x", "text": TEXT, "noise": NOISE, "large": LARGE}
PATIENT = urllib3.Timeout(connect=5, read=None)  # its default is short for a busy machine
KEYS = [
    "plain",
    "with space",
    "é",
    "\N{SCHOOL SATCHEL}",
    "a+b",
    "!$&'()*+,;=",
    "~.",
    "100% sure",
    "looks%20encoded",
    "%",
    "a%2Fb",
    "nested/path/1/shard-0.json",
    "it's",
    "me@home",
    "a:b",
    "a&b",
    "a;b",
    "a=b",
    "../../x",
    "a/./b",
    "a//b",
    "/lead",
    "tail/",
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("stock") / "data") as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@contextmanager
def connected(gateway: Gateway, **options: Any) -> Iterator[Client]:
    client = Client(gateway.url, **options)
    yield client
    client._pool.close()  # it has no way to do so itself


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[Client]:
    with connected(gateway, connection_kwargs={"timeout": PATIENT}) as made:
        yield made


@pytest.fixture
def session(client: Client) -> Session:
    return client.session(Usecase("attachments"), test=secrets.token_hex(6))


def fetched(session: Session, key: str, *, as_stored: bool = False) -> bytes:
    found = session.get(key, decompress=not as_stored)
    assert found is not None
    with found.payload as payload:
        return payload.read()


def by_url(session: Session, key: str) -> bytes:
    with urllib.request.urlopen(session.object_url(key)) as answer:
        return bytes(answer.read())


def test_it_is_the_version_that_was_meant() -> None:
    assert version("objectstore-client") == "0.2.10"


# Bytes


@pytest.mark.parametrize("compress", ["zstd", "none"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_every_body_comes_back_to_it_and_to_anybody_with_the_url(
    session: Session, body: bytes, compress: Compression
) -> None:
    assert session.put(body, "k", compress=compress, content_type="text/plain") == "k"

    assert fetched(session, "k") == body
    assert by_url(session, "k") == body
    found = session.get("k")
    assert found is not None
    assert found.metadata.compression is None
    assert found.metadata.filename is None
    assert found.payload.read() == body


def test_what_it_compressed_reaches_it_as_it_was_sent(session: Session) -> None:
    session.put(TEXT, "k", compress="zstd")

    stored = fetched(session, "k", as_stored=True)
    assert decoded(stored) == TEXT
    head = session.head("k")
    assert head is not None
    assert (head.compression, head.size) == ("zstd", len(stored))


@pytest.mark.parametrize("accepted", [["zstd"], ["*"], ["gzip", "zstd"]])
def test_what_it_compressed_is_passed_through_where_it_accepts_that(
    session: Session, accepted: list[str]
) -> None:
    session.put(TEXT, "k")

    found = session.get("k", accept_encoding=accepted)
    assert found is not None
    assert found.metadata.compression == "zstd"
    assert decoded(found.payload.read()) == TEXT


def test_what_the_gateway_compressed_reaches_it_decoded(session: Session) -> None:
    session.put(TEXT, "k", compress="none")

    for found in (session.get("k", decompress=False), session.get("k", accept_encoding=["zstd"])):
        assert found is not None
        assert (found.metadata.compression, found.metadata.size) == (None, len(TEXT))
        assert found.payload.read() == TEXT
    head = session.head("k")
    assert head is not None
    assert (head.compression, head.size) == (None, len(TEXT))


@pytest.mark.parametrize("body", [zstandard.compress(TEXT), streamed(LARGE)], ids=["one", "large"])
def test_what_was_compressed_beforehand_is_kept_verbatim(session: Session, body: bytes) -> None:
    session.put(body, "k", precompressed="zstd")

    assert fetched(session, "k", as_stored=True) == body
    assert fetched(session, "k") == decoded(body) == by_url(session, "k")
    head = session.head("k")
    assert head is not None
    assert head.size == len(body)


def test_zstd_that_it_does_not_declare_comes_back_unchanged(session: Session) -> None:
    body = zstandard.compress(TEXT)
    session.put(body, "k", compress="none")

    assert fetched(session, "k") == body


class Pipe(io.BytesIO):
    """A stream that can't seek and gives what it has in small pieces."""

    def seekable(self) -> bool:
        return False

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def read(self, size: int | None = -1) -> bytes:
        return super().read(10_000 if size is None or size < 0 else min(size, 10_000))


@pytest.mark.parametrize("compress", ["zstd", "none"])
def test_streams_and_files_are_put_too(
    session: Session, tmp_path: Path, compress: Compression
) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    with (tmp_path / "file").open("rb") as file:
        session.put(file, "file", compress=compress)
    session.put(io.BytesIO(LARGE), "buffer", compress=compress)
    session.put(Pipe(LARGE), "pipe", compress=compress)

    for key in ("file", "buffer", "pipe"):
        assert fetched(session, key) == LARGE


def test_a_large_upload_never_waits_a_tenth_of_a_second(gateway: Gateway) -> None:
    """Its own timeout bounds every send; a machine that is busy otherwise gets a second try."""
    body = noise(1 << 20) * 48
    with connected(gateway) as impatient:
        session = impatient.session(Usecase("media", "none"), test=secrets.token_hex(6))

        def went_through(key: str) -> bool:
            try:
                return session.put(body, key) == key
            except HTTPError:
                return False

        key = next(key for key in ("1", "2", "3") if went_through(key))
        assert fetched(session, key) == body


@pytest.mark.parametrize("compress", ["zstd", "none"])
@pytest.mark.parametrize("key", ["k", None], ids=["put", "post"])
def test_a_resumable_upload_falls_back_to_a_plain_one(
    session: Session, compress: Compression, key: str | None
) -> None:
    for body in (LARGE, io.BytesIO(LARGE), b""):
        stored = session.put(body, key, compress=compress, resumable_threshold_bytes=0)
        assert fetched(session, stored) == (b"" if body == b"" else LARGE)


# Names


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_echoed_and_found(session: Session, key: str) -> None:
    assert session.put(key.encode(), key) == key

    assert fetched(session, key) == key.encode()
    assert by_url(session, key) == key.encode()
    session.delete(key)
    assert session.get(key) is None


def test_without_a_key_it_gets_one(session: Session) -> None:
    keys = {session.put(TEXT), session.put(TEXT, ""), session.put(NOISE, compress="none")}

    assert {UUID(key).version for key in keys} == {4}
    assert len(keys) == 3
    assert {fetched(session, key) for key in keys} == {TEXT, NOISE}


def test_what_is_not_there_is_none_and_can_be_deleted(session: Session) -> None:
    assert session.get("absent") is None
    assert session.head("absent") is None
    session.delete("absent")


def test_an_overwrite_and_a_delete_are_seen(session: Session) -> None:
    session.put(b"first", "k", metadata={"a": "b"})
    session.put(b"second", "k")
    head = session.head("k")
    assert head is not None
    assert (fetched(session, "k"), head.custom) == (b"second", {})

    session.delete("k")
    assert session.get("k") is None
    assert session.head("k") is None


def test_scopes_are_worlds_apart(client: Client) -> None:
    usecase, unique = Usecase("attachments"), secrets.token_hex(6)
    places = [
        client.session(usecase, org=unique, project=7),
        client.session(usecase, project=7, org=unique),
        client.session(usecase, org=unique),
        client.session(usecase, org=unique, flag=True),
        client.session(usecase, org=unique, name="it's(1)!$+_-"),
        client.session(Usecase("media"), org=unique, project=7),
    ]
    for number, place in enumerate(places):
        place.put(b"%d" % number, "k")

    assert [fetched(place, "k") for place in places] == [b"%d" % n for n in range(len(places))]
    everybody = client.session(usecase)
    everybody.put(b"_", unique)
    assert fetched(everybody, unique) == b"_"


# Metadata and lifetimes


def test_metadata_comes_back(session: Session) -> None:
    before = datetime.now(UTC)
    session.put(
        TEXT,
        "k",
        content_type="text/plain; charset=utf-8",
        metadata={"Foo-Bar": "é%", "empty": "", "emoji": "\N{SCHOOL SATCHEL}", "spaced": "a  b"},
        origin="203.0.113.7",
        filename='naïve "name" 100%.txt',
    )

    head, found = session.head("k"), session.get("k")
    assert head is not None
    assert found is not None
    found.payload.read()
    for metadata in (head, found.metadata):
        assert metadata.content_type == "text/plain; charset=utf-8"
        assert metadata.custom == {
            "foo-bar": "é%",
            "empty": "",
            "emoji": "\N{SCHOOL SATCHEL}",
            "spaced": "a  b",
        }
        assert metadata.origin == "203.0.113.7"
        assert metadata.filename == 'naïve "name" 100%.txt'
        assert metadata.expiration_policy is None
        assert metadata.time_expires is None
        assert metadata.time_created is not None
        assert before <= metadata.time_created <= datetime.now(UTC)


@pytest.mark.parametrize("kind", [TimeToLive, TimeToIdle])
@pytest.mark.parametrize(
    "delta",
    [timedelta(seconds=90), timedelta(days=400, hours=1, minutes=18, seconds=31), timedelta(1)],
)
def test_a_lifetime_comes_back(
    session: Session, kind: type[TimeToLive | TimeToIdle], delta: timedelta
) -> None:
    session.put(b"x", "k", expiration_policy=kind(delta))

    head = session.head("k")
    assert head is not None
    assert head.expiration_policy == kind(delta)
    assert head.time_created is not None
    assert head.time_expires == head.time_created + delta


def test_a_lifetime_of_its_usecase_or_of_ours_is_the_default(client: Client) -> None:
    policy = TimeToLive(timedelta(days=7))
    own = client.session(Usecase("attachments", expiration_policy=policy))
    ours = client.session(Usecase("sessions"))
    for place in (own, ours):
        place.put(b"x", "k")

    kept = [place.head("k") for place in (own, ours)]
    assert [head and head.expiration_policy for head in kept] == [
        policy,
        TimeToIdle(timedelta(hours=1)),
    ]


@pytest.mark.parametrize("kind", [TimeToLive, TimeToIdle])
def test_what_has_expired_is_none(session: Session, kind: type[TimeToLive | TimeToIdle]) -> None:
    session.put(b"x", "k", expiration_policy=kind(timedelta(0)))

    assert session.get("k") is None
    assert session.head("k") is None
    session.delete("k")


def test_what_is_there_expires_when_its_time_has_come(session: Session) -> None:
    session.put(b"x", "k", expiration_policy=TimeToLive(timedelta(seconds=1)))

    while (head := session.head("k")) is not None:
        ends = head.time_expires
    assert ends is not None
    assert datetime.now(UTC) >= ends
    assert session.get("k") is None


# Refusals


def test_a_refusal_reaches_the_caller_in_words(client: Client, session: Session) -> None:
    refusals: dict[int, Callable[[], object]] = {
        404: lambda: client.session(Usecase("nobodys")).put(TEXT),
        400: lambda: client.session(Usecase("sessions")).put(
            b"x", expiration_policy=TimeToLive(timedelta(days=31))
        ),
        405: lambda: session.extend_expiry("k", from_now=timedelta(days=1)),
        501: lambda: session.initiate_multipart_upload(key="k"),
    }
    said = {}
    for status, refused in refusals.items():
        with pytest.raises(RequestError) as error:
            refused()
        assert error.value.status == status
        said[status] = str(error.value.response)

    assert "'nobodys' is not declared" in said[404]
    assert "ttl up to 30d" in said[400]


def test_a_refusal_before_the_body_is_read_reaches_it_too(client: Client) -> None:
    with pytest.raises(RequestError) as error:
        client.session(Usecase("nobodys", compression="none")).put(noise(1 << 20) * 16)

    assert error.value.status == 404


def test_no_resumable_upload_is_created(session: Session) -> None:
    assert session._create_upload(5, key="k") is None
    assert session.get("k") is None


# Connections


@pytest.mark.parametrize(
    "options",
    [
        {"token": "a.b.c", "timeout_ms": 5000},
        {"token": "a.b.c", "connection_kwargs": {"headers": {"User-Agent": "something else"}}},
    ],
    ids=["known by its name", "known by its token"],
)
def test_with_a_token_it_gets_what_it_sent(gateway: Gateway, options: dict[str, Any]) -> None:
    with connected(gateway, **options) as client:
        session = client.session(Usecase("attachments"), test=secrets.token_hex(6))
        session.put(TEXT, "k")

        assert fetched(session, "k") == TEXT
        assert decoded(fetched(session, "k", as_stored=True)) == TEXT


@pytest.mark.parametrize("size", [1, 16])
def test_many_threads_may_share_it(gateway: Gateway, size: int) -> None:
    pool = {"maxsize": size, "timeout": PATIENT}
    with connected(gateway, connection_kwargs=pool) as client, ThreadPoolExecutor(16) as threads:
        session = client.session(Usecase("attachments"), test=secrets.token_hex(6))

        def round_trip(number: int) -> bool:
            body = NOISE[: number * 1000] + TEXT[: number * 1000]
            session.put(body, str(number), compress="zstd" if number % 2 else "none")
            return fetched(session, str(number)) == body

        assert all(threads.map(round_trip, range(64)))


def test_payloads_left_unread_cost_the_gateway_nothing(session: Session) -> None:
    session.put(LARGE, "k", compress="none")

    for _ in range(20):
        found = session.get("k")
        assert found is not None
        with found.payload as payload:
            assert payload.read(10) == LARGE[:10]
    assert fetched(session, "k") == LARGE


def test_what_expired_is_404_for_a_plain_url(session: Session) -> None:
    session.put(b"x", "k", expiration_policy=TimeToLive(timedelta(0)))

    with pytest.raises(urllib.error.HTTPError) as error:
        by_url(session, "k")
    assert error.value.code == 404
    error.value.close()
