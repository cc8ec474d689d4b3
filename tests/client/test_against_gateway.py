"""The client and a real gateway: everything an application does, over real sockets."""

import os
import random
import secrets
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from pannier import (
    MANUAL,
    AlreadyExists,
    Client,
    Expiration,
    NotFound,
    NotModified,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestRefused,
    Session,
    TooLarge,
)
from support.gateway import Gateway, running_gateway

TEXT = b"".join(b"line %d of a text that compresses well\n" % n for n in range(20_000))
NOISE = random.Random(7).randbytes(3 << 20)
KEYS = [
    "k", "a/b/c", "a//b", "/lead", "tail/", "../../x", "a/./b", ".", "..", "%", "%25", "%2F", "a b",
    "a+b", "a;b=c&d", "a?b#c", "é", "e\u0301", "\N{SCHOOL SATCHEL}", "\n\t\x7f", "x" * 1024,
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_gateway(data_dir, extra_args=["--socket", str(data_dir / "x.sock")]) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[Client]:
    with Client(gateway.url) as client:
        yield client


@pytest.fixture
def session(client: Client) -> Session:
    """Scopes that no other test has."""
    return client.session("attachments", test=secrets.token_hex(4))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_comes_back_with_its_bytes(session: Session, key: str) -> None:
    stored = session.put(key.encode() * 3, key)

    assert stored.key == key
    assert session.get(key).read() == key.encode() * 3
    assert [entry.key for entry in session.list()] == [key]
    session.delete(key)
    assert list(session.list()) == []


@pytest.mark.parametrize("body", [b"", b"x", TEXT, NOISE], ids=["empty", "one", "text", "noise"])
def test_bodies_come_back_however_they_were_given(
    session: Session, tmp_path: Path, body: bytes
) -> None:
    path = tmp_path / "body"
    path.write_bytes(body)
    with path.open("rb") as file:
        given = [session.put(body), session.put(path), session.put(file), session.put([body])]

    assert len({stored.key for stored in given}) == 4
    for stored in given:
        assert stored.size == len(body)
        with session.get(stored.key) as result:
            assert result.read() == body
            assert result.metadata.etag == stored.etag


def test_metadata_comes_back(session: Session) -> None:
    session.put(
        b"x",
        "k",
        content_type="text/plain; charset=utf-8",
        expiration=Expiration.ttl(timedelta(days=3)),
        origin="10.0.0.1",
        filename=' naïve "name".txt ',
        custom={"Owner": "é%", "empty": ""},
    )

    with session.get("k") as result:
        metadata = result.metadata
    assert session.head("k") == metadata
    assert metadata.content_type == "text/plain; charset=utf-8"
    assert metadata.expiration == Expiration.ttl(timedelta(days=3))
    assert metadata.time_created is not None
    assert metadata.time_expires == metadata.time_created + 3 * 86_400 * 10**6
    assert (metadata.origin, metadata.filename) == ("10.0.0.1", ' naïve "name".txt ')
    assert metadata.custom == {"owner": "é%", "empty": ""}
    assert metadata.size == 1


def test_the_usecase_decides_where_the_writer_says_nothing(client: Client) -> None:
    sessions = client.session("sessions")
    sessions.put(b"x", "k")

    assert sessions.head("k").expiration == Expiration.tti(timedelta(hours=1))
    with pytest.raises(RequestRefused):
        sessions.put(b"x", "k", expiration=MANUAL)


def test_text_is_kept_compressed_and_read_plain(session: Session) -> None:
    session.put(TEXT, "k")

    with session.get("k", accept_encoding="zstd") as result:
        stored = result.read()
        assert result.metadata.compression == "zstd"
    assert len(stored) < len(TEXT) / 4
    assert zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(
        stored
    ) == (TEXT)
    assert session.get("k").metadata.compression is None
    assert session.head("k").original_size == len(TEXT)


def test_a_body_read_whole_is_in_memory_once(client: Client) -> None:
    session = client.session("media")
    session.put(NOISE, "whole")

    tracemalloc.start()
    body = session.get("whole").read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert body == NOISE
    assert peak < 1.5 * len(NOISE)


def test_zstd_is_stored_as_it_comes(session: Session) -> None:
    packed = zstandard.compress(TEXT)
    session.put(packed, "k", precompressed="zstd")

    assert session.get("k").read() == TEXT
    assert session.get("k", accept_encoding="zstd").read() == packed


@pytest.mark.parametrize("body", [TEXT, NOISE], ids=["compressed", "plain"])
@pytest.mark.parametrize(
    "asked", [(0, 1), (0, None), (1000, 5000), (-100, None), (300_000, 10**9), (-(10**9), None)]
)
def test_a_range_is_the_slice(session: Session, body: bytes, asked: tuple[int, int | None]) -> None:
    session.put(body, "k")

    with session.get("k", range=asked) as result:
        assert result.read() == body[slice(*asked)]
        assert result.range is not None
        assert result.range.total == len(body)


def test_a_range_behind_the_end_is_an_error(session: Session) -> None:
    session.put(b"short", "k")

    with pytest.raises(RangeNotSatisfiable):
        session.get("k", range=(5, 6))


def test_conditions_hold(session: Session) -> None:
    first = session.put(b"1", "k", if_none_match="*")
    with pytest.raises(AlreadyExists):
        session.put(b"2", "k", if_none_match="*")
    second = session.put(b"2", "k", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        session.put(b"3", "k", if_match=first.etag)
    with pytest.raises(NotModified):
        session.get("k", if_none_match=second.etag)
    with pytest.raises(PreconditionFailed):
        session.get("k", if_match=first.etag)

    assert session.get("k", if_match=second.etag).read() == b"2"


def test_what_is_not_there_is_not_found(session: Session, client: Client) -> None:
    for ask in (session.get, session.head):
        with pytest.raises(NotFound):
            ask("missing")
    session.delete("missing")
    with pytest.raises(NotFound, match=r"undeclared.*declare"):
        client.session("undeclared").put(NOISE, "k")
    with pytest.raises(NotFound, match="undeclared"):
        list(client.session("undeclared").list())


def test_an_object_too_large_is_refused_early(client: Client) -> None:
    media = client.session("media")

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with pytest.raises(TooLarge):
        media.put(endless(), "k")
    with pytest.raises(NotFound):
        media.head("k")


def test_a_listing_is_complete_ordered_and_foldable(session: Session) -> None:
    keys = ["a", "a/1", "a/2", "b/1", "é/1", "\N{SCHOOL SATCHEL}"]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: session.put(key.encode(), key), keys))

    listing = list(session.list(page_size=2))
    assert [entry.key for entry in listing] == sorted(keys, key=str.encode)
    assert [entry.size for entry in listing] == [len(key.encode()) for key in sorted(keys)]
    assert all(entry.etag and entry.time_created for entry in listing)
    assert listing[0].etag == session.head("a").etag
    assert [entry.key for entry in session.list("a/", start_after="a/1")] == ["a/2"]
    folded = list(session.list(delimiter="/", page_size=2).pages())
    assert [prefix for page in folded for prefix in page.prefixes] == ["a/", "b/", "é/"]
    assert [entry.key for page in folded for entry in page.objects] == ["a", keys[-1]]


def test_scopes_are_worlds_apart(client: Client) -> None:
    ours = client.session("attachments", org=1, project=2)
    theirs = client.session("attachments", project=2, org=1)
    ours.put(b"x", "k")

    with pytest.raises(NotFound):
        theirs.get("k")


def test_threads_and_a_unix_socket_work_too(gateway: Gateway) -> None:
    with Client(f"unix://{gateway.socket}") as client, ThreadPoolExecutor(8) as threads:
        session = client.session("attachments", org="threads")

        def round_trip(number: int) -> bool:
            body = NOISE[number : number + 10_000 * number]
            session.put(body, str(number))
            return session.get(str(number)).read() == body

        assert all(threads.map(round_trip, range(40)))


def test_a_gateway_that_dies_midway_leaves_no_whole_body(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway, Client(gateway.url, timeout=10) as client:
        session = client.session("media")
        session.put(os.urandom(64 << 20), "k")
        with session.get("k") as result:
            result.read(1 << 20)
            gateway.process.send_signal(signal.SIGKILL)
            gateway.process.wait(10)
            with pytest.raises(ConnectionError, match="get 'k'"):
                result.read()


def test_a_client_sent_to_the_admin_listener_is_told_so(gateway: Gateway) -> None:
    """And in no way that could pass for an object that is not there."""
    with Client(gateway.admin_url) as lost:
        session = lost.session("media")
        for call in (session.get, session.delete, lambda key: session.put(b"x", key)):
            with pytest.raises(RequestRefused, match="admin pages: objects are at the") as refused:
                call("k")
            assert not isinstance(refused.value, NotFound)


@pytest.mark.parametrize("ending", ["client = None", "client.close()", ""])
def test_whoever_drops_a_client_hears_no_complaint(gateway: Gateway, ending: str) -> None:
    code = (
        "import pannier\n"
        f"client = pannier.Client({gateway.url!r})\n"
        "client.session('media').put(b'x', 'k')\n"
        "knot = [client]; knot.append(knot); del knot\n"
        f"{ending}\n"
        "import gc; gc.collect()\n"
    )

    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )

    assert run.stderr == ""
