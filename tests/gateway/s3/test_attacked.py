"""A store that sets out to break the gateway gets errors that say so, and no reader wrong bytes."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from pannier_gateway.conditions import Conditions
from pannier_gateway.dates import seconds_to_wait
from pannier_gateway.errors import (
    Damaged,
    PannierError,
    StoreBusy,
    StoreMisanswered,
    StoreRefused,
    StoreUnavailable,
    TooLarge,
)
from pannier_gateway.stores import records
from pannier_gateway.stores.base import Attributes, Listing, Record, Store
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.s3 import S3Store, answers
from pannier_gateway.stores.s3.answers import (
    DEEPEST,
    MOST_ELEMENTS,
    ListedPage,
    NotXml,
    listed_page,
    parsed,
    refusal,
)
from pannier_gateway.stores.s3.bucket import S3Bucket, Unmet, part
from pannier_gateway.stores.s3.metadata import headers_of, stored_object
from pannier_gateway.stores.s3.multipart import Uploads
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.stores.upstream.hub import HubStore
from pannier_gateway.stores.upstream.plain import PlainStore
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.doorstep import serving as at_the_door
from support.engines import bucket_at, store_of
from support.hubs import upstream
from support.pools import in_use
from support.scripted import ScriptedServer, answer, serving
from support.stores import put, read, streamed
from support.wire import exchange

GUARDED = Traits(create=True, replace="quoted", complete=True, delete=True, verified=True)
SIZE = "9" * 4500
NO_TAGS = ["a\r\nb: c", 'a"b', "a b", "中", "é"]
DATED = "last-modified: Tue, 14 Nov 2023 22:13:20 GMT"
GARBAGE = answer("200 OK", b"", 'etag: "e1"', DATED, "x-amz-meta-pannier: garbage")
BEGUN = answer(
    "200 OK",
    b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
)


def said(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


@asynccontextmanager
async def bucket_on(server: ScriptedServer) -> AsyncIterator[S3Bucket]:
    port = urlsplit(server.url).port or 0
    async with in_use(Pool(Endpoint("127.0.0.1", port))) as pool:
        yield bucket_at(Entrance(f"127.0.0.1:{port}", pool))


@asynccontextmanager
async def store_at(server: ScriptedServer) -> AsyncIterator[S3Store]:
    async with bucket_on(server) as bucket:
        yield store_of(bucket, GUARDED)


def tagged(etag: str) -> Record:
    return Record("k", 5, etag, 1, None, Attributes())


ASKED: Mapping[str, Callable[[S3Bucket], Awaitable[object]]] = {
    "read": lambda b: read(store_of(b, GUARDED), "k"),
    "head": lambda b: store_of(b, GUARDED).head("k"),
    "put": lambda b: put(store_of(b, GUARDED), "k", b"x"),
    "put in parts": lambda b: put(store_of(b, GUARDED), "k", streamed(bytes(9 << 20), 1 << 20)),
    "delete": lambda b: b.delete("k"),
    "list": lambda b: store_of(b, GUARDED).list(Listing("")),
    "copy": lambda b: b.copy("k", "k", {}),
    "part": lambda b: b.upload_part("k", part("u", 1), b"x"),
    "part copied": lambda b: b.copy_part("k", "k", part("u", 1), {}),
    "end": lambda b: b.end_upload("k", "u", [], {}),
    "tags": lambda b: b.tags("k"),
}


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"<br>", b"please log in"])
@pytest.mark.parametrize("asked", ASKED)
async def test_a_page_in_place_of_an_answer_is_none_however_well_it_went(
    asked: str, page: bytes
) -> None:
    """As of what stands between, and wants somebody to log in first."""
    with serving(answer("200 OK", page, DATED)) as server:
        async with bucket_on(server) as bucket:
            with pytest.raises(StoreMisanswered, match="stands in front of the store"):
                await ASKED[asked](bucket)


@pytest.mark.parametrize("ask", [lambda s: s.head("k"), lambda s: put(s, "k", b"x")])
@pytest.mark.parametrize("status", ["412 Precondition Failed", "304 Not Modified"])
async def test_no_condition_fails_that_nobody_made(
    ask: Callable[[S3Store], Awaitable[object]], status: str
) -> None:
    with serving(answer(status)) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreMisanswered, match=status[:3]):
                await ask(store)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        ("200 OK", "PreconditionFailed", StoreUnavailable),
        ("200 OK", "ConditionalRequestConflict", StoreUnavailable),
        ("409 Conflict", "PreconditionFailed", StoreRefused),
        ("409 Conflict", "ConditionalRequestConflict", StoreUnavailable),
    ],
)
async def test_a_conflict_over_a_condition_is_heard_by_whom_made_one(
    status: str, code: str, error: type[PannierError]
) -> None:
    with serving(answer(status, said(code))) as server:
        async with bucket_on(server) as bucket:
            with pytest.raises(error, match=code):
                await bucket.end_upload("k", "u", (), {})
            with pytest.raises(Unmet):
                await bucket.end_upload("k", "u", (), {"if-none-match": "*"})
            with pytest.raises(Unmet):
                await bucket.copy("k", "k", {"x-amz-copy-source-if-match": '"e"'})


@pytest.mark.parametrize("encoding", ["foo", "utf-7", "shift_jis"])
def test_xml_in_an_encoding_that_nobody_reads_is_none(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><Error/>'.encode()

    with pytest.raises(NotXml):
        parsed(text)
    assert refusal(500, text).code == ""


def test_xml_is_nested_only_so_deep() -> None:
    assert parsed(b"<a>" * DEEPEST + b"</a>" * DEEPEST).tag == "a"
    assert len(parsed(b"<a>" + b"<b/>" * (DEEPEST + 1) + b"</a>")) == DEEPEST + 1
    with pytest.raises(NotXml, match="within each other"):
        parsed(b"<a>" * 20_000 + b"</a>" * 20_000)


def test_xml_takes_only_so_much_memory() -> None:
    with pytest.raises(NotXml, match="elements"):
        parsed(b"<a>" + b"<b/>" * MOST_ELEMENTS + b"</a>")


@pytest.mark.parametrize("keys", [10, 1000])
async def test_only_a_short_listing_is_read_while_others_wait(
    keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = b"<Contents><Key>k</Key><Size>1</Size></Contents>" * keys
    read_by: list[bool] = []

    def seen(text: bytes, *, encoded: bool) -> ListedPage:
        read_by.append(threading.current_thread() is threading.main_thread())
        return listed_page(text, encoded=encoded)

    monkeypatch.setattr(answers, "listed_page", seen)
    with serving(answer("200 OK", b"<ListBucketResult>" + listed + b"</ListBucketResult>")) as at:
        async with bucket_on(at) as bucket:
            page = await bucket.listed("", "", 1000, None, encoded=False)

    assert len(page.keys) == keys
    assert read_by == [keys == 10]


async def test_a_store_that_is_busy_for_ever_is_busy_for_a_long_time() -> None:
    assert seconds_to_wait("9" * 400, now=0.0) == 1e9
    with serving(answer("503 Slow Down", b"", f"retry-after: {'9' * 400}")) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreBusy) as busy:
                await put(store, "k", b"x")

    assert busy.value.retry_after is not None


def test_a_size_that_nothing_has_is_none() -> None:
    contents = f"<Contents><Key>k</Key><Size>{SIZE}</Size></Contents>"

    with pytest.raises(Damaged, match="does not tell the size"):
        stored_object("k", {"etag": '"e"', "content-range": f"bytes 0-2/{SIZE}"})
    with pytest.raises(NotXml, match="a Size of '9999"):
        listed_page(f"<ListBucketResult>{contents}</ListBucketResult>".encode(), encoded=False)


@pytest.mark.parametrize("etag", NO_TAGS)
def test_an_etag_that_no_answer_can_hold_is_refused_where_it_comes_in(etag: str) -> None:
    ours = headers_of(tagged(etag))
    foreign = {"etag": f'"{etag}"'}

    for headers in (ours, foreign):
        with pytest.raises(Damaged, match="store it again or delete it"):
            stored_object("k", {"content-length": "5", **headers})
    with pytest.raises(records.Unreadable, match="etag"):
        records.read(records.written(tagged(etag)))


def test_a_weak_etag_of_others_names_their_object() -> None:
    assert stored_object("k", {"content-length": "5", "etag": 'W/"a"'}).record.etag == "a"


@pytest.mark.parametrize(
    ("head", "told"),
    [(('etag: "é"',), "no etag"), ((f"content-range: bytes 0-0/{SIZE}",), "the size")],
)
async def test_a_server_upstream_can_not_break_it_either(head: tuple[str, ...], told: str) -> None:
    created = "x-sn-time-created: 2023-11-14T22:13:20Z"
    with serving(answer("200 OK", b"x", created, *head)) as server:
        async with upstream(urlsplit(server.url).port or 0) as store:
            with pytest.raises(StoreMisanswered, match=told):
                await PlainStore(store._server).head("shared/objects/k")


ANYBODY: Mapping[str, Callable[[Store], Awaitable[object]]] = {
    "read": lambda s: read(s, "shared/objects/k"),
    "head": lambda s: s.head("shared/objects/k"),
    "put": lambda s: put(s, "shared/objects/k", b"x"),
    "delete": lambda s: s.delete("shared/objects/k"),
}
GATEWAY: Mapping[str, Callable[[Store], Awaitable[object]]] = {
    **ANYBODY,
    "touch": lambda s: s.touch("shared/objects/k", "e", 1),
    "list": lambda s: s.list(Listing("shared/objects/")),
}


@pytest.mark.parametrize(
    ("kind", "asked"),
    [*((PlainStore, each) for each in ANYBODY), *((HubStore, each) for each in GATEWAY)],
)
async def test_a_page_in_place_of_an_answer_upstream_is_none_either(
    kind: type[PlainStore | HubStore], asked: str
) -> None:
    with serving(answer("200 OK", b"<html>please log in</html>", DATED)) as server:
        async with upstream(urlsplit(server.url).port or 0) as store:
            with pytest.raises(StoreMisanswered):
                await GATEWAY[asked](kind(store._server))


@pytest.mark.parametrize("told", ["gzip", "aws-chunked, br", "zstd, gzip"])
async def test_an_encoding_of_others_is_told_to_readers(told: str) -> None:
    body = gzip.compress(b"<html>" * 100)
    with serving(
        answer("200 OK", body, 'etag: "e1"', DATED, f"content-encoding: {told}")
    ) as server:
        async with store_at(server) as store, at_the_door(store) as url:
            found = await asyncio.to_thread(exchange, url, "GET", "/v1/objects/attachments/_/k")

    assert found.headers["content-encoding"] == told.removeprefix("aws-chunked, ")
    assert (found.status, found.body) == (200, body)


def test_an_encoding_of_others_stays_when_a_deadline_moves() -> None:
    kept = Record("k", 5, "e", 1, None, Attributes(foreign_encoding="gzip"))

    assert headers_of(kept)["content-encoding"] == "gzip"


async def test_no_encoding_is_told_that_no_header_can_hold() -> None:
    head = "content-encoding: \xe9"
    with serving(answer("200 OK", b"x", 'etag: "e1"', DATED, head)) as server:
        async with store_at(server) as store, at_the_door(store) as url:
            found = await asyncio.to_thread(exchange, url, "GET", "/v1/objects/attachments/_/k")

    assert (found.status, "content-encoding" in found.headers) == (200, False)


async def test_a_part_that_nobody_asked_for_is_not_taken_for_the_whole() -> None:
    head = 'etag: "e1"', "content-range: bytes 0-2/1000"
    with serving(answer("206 Partial Content", b"abc", *head)) as server:
        async with store_at(server) as store, at_the_door(store) as url:
            found = await asyncio.to_thread(exchange, url, "GET", "/v1/objects/attachments/_/k")

    assert found.status == 502
    assert "gives 3 bytes (bytes 0-2/1000) of the 1000" in found.detail


async def test_what_can_not_be_read_can_be_deleted() -> None:
    with serving((GARBAGE, answer("204 No Content"))) as server:
        async with store_at(server) as store:
            assert await store.delete("k")

    assert [each.method for each in server.requests] == ["HEAD", "DELETE"]


async def test_what_can_not_be_read_meets_no_condition() -> None:
    with serving((GARBAGE,)) as server:
        async with store_at(server) as store:
            with pytest.raises(Damaged, match="store it again or delete it"):
                await store.delete("k", Conditions(if_match=("*",)))


async def test_keys_that_expire_midway_end_an_upload_at_once_and_leave_nothing() -> None:
    sent, gone = answer("200 OK", b"", 'etag: "p"'), answer("204 No Content")
    with serving((BEGUN, sent, answer("403 Forbidden", said("ExpiredToken")), gone)) as server:
        async with bucket_on(server) as bucket:
            store = store_of(bucket, Traits())
            with pytest.raises(StoreRefused, match="the session token has expired: check"):
                await put(store, "k", streamed(bytes(20 << 20), 1 << 20))

    asked = [(each.method, each.target.partition("?")[2]) for each in server.requests]
    parts = [("PUT", f"partNumber={number}&uploadId=u") for number in (1, 2)]
    assert asked == [("POST", "uploads="), *parts, ("DELETE", "uploadId=u")]


async def test_who_is_cancelled_while_an_upload_is_aborted_stays_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached, leave, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def held(*_: object) -> None:
        reached.set()
        await leave.wait()
        left.set()

    monkeypatch.setattr(S3Bucket, "abort_upload", held)

    async def upload(bucket: S3Bucket) -> None:
        async with Uploads(bucket, GUARDED).begin("k", {}):
            raise TooLarge("too much")

    with serving(BEGUN) as server:
        async with bucket_on(server) as bucket:
            task = asyncio.create_task(upload(bucket))
            await reached.wait()
            task.cancel()
            await asyncio.sleep(0)
            leave.set()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert left.is_set()
