"""What becomes of a store that breaks its word, told by a server that does just that."""

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest
from awscrt.checksums import crc64nvme

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import (
    BadRequest,
    Damaged,
    NotOffered,
    ObjectReplaced,
    PannierError,
    StoreBusy,
    StoreMisanswered,
    StoreRefused,
    StoreUnavailable,
)
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Attributes, Listing
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.s3.bodies import encoded
from pannier_gateway.stores.s3.bucket import S3Bucket, Unmet
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.engines import OWN, bucket_at, provision, store_of
from support.jumps import turns
from support.pools import in_use
from support.scripted import Peer, ScriptedServer, answer, serving
from support.stores import NOON, draft, put, read, streamed, whole

BODY = bytes(range(256)) * 1000
DATE = "last-modified: Tue, 14 Nov 2023 22:13:20 GMT"
GUARDED = Traits(create=True, replace="quoted", complete=True, delete=True, verified=True)
WEAK = Traits()


@asynccontextmanager
async def store_at(server: ScriptedServer, traits: Traits = GUARDED) -> AsyncIterator[S3Store]:
    async with bucket_on(server) as bucket:
        yield store_of(bucket, traits)


@asynccontextmanager
async def bucket_on(server: ScriptedServer) -> AsyncIterator[S3Bucket]:
    async with pool_to(server) as pool:
        yield bucket_at(Entrance(f"127.0.0.1:{pool.endpoint.port}", pool))


def pool_to(server: ScriptedServer) -> AbstractAsyncContextManager[Pool]:
    return in_use(Pool(Endpoint("127.0.0.1", urlsplit(server.url).port or 0)))


def found(body: bytes = BODY, *headers: str, tag: str = "e1", status: str = "200 OK") -> bytes:
    return answer(status, body, f'etag: "{tag}"', DATE, *headers)


def told(code: str, status: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode())


OF_BYTES = f"x-amz-checksum-crc64nvme: {encoded(crc64nvme(b'bytes').to_bytes(8, 'big'))}"
MISSING = answer("404 Not Found")
DONE = answer("200 OK", b"", 'etag: "e1"')


def listing(*keys: str, more: bool = False, token: str = "") -> bytes:
    """A page of these keys, encoded."""
    listed = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    head = f"<IsTruncated>{str(more or bool(token)).lower()}</IsTruncated>"
    head += "<EncodingType>url</EncodingType>"
    head += f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return answer("200 OK", f"<ListBucketResult>{head}{listed}</ListBucketResult>".encode())


FAR = 200_000  # further on than anybody would read to get there


def part(first: int, last: int, tag: str = "e1", size: int = len(BODY)) -> bytes:
    """Bytes of BODY from FAR on."""
    told = f"content-range: bytes {FAR + first}-{FAR + last}/{size}"
    return found(BODY[FAR + first : FAR + last + 1], told, tag=tag, status="206 Partial")


async def test_a_body_that_is_cut_never_ends_like_a_whole_one() -> None:
    with serving((found()[:-1000],)) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreUnavailable, match="1000 bytes too early"):
                await read(store, "k")


@pytest.mark.parametrize("size", [1000, len(BODY)])
async def test_a_body_that_fails_its_checksum_never_ends(size: int) -> None:
    right = encoded(crc64nvme(BODY[:size]).to_bytes(8, "big"))
    checksum = f"x-amz-checksum-crc64nvme: {right}"
    wrong = b"\1" + BODY[1:size]
    with serving((found(BODY[:size], checksum), found(wrong, checksum))) as server:
        async with store_at(server) as store:
            assert await read(store, "k") == BODY[:size]
            with pytest.raises(Damaged, match="fails its checksum"):
                await read(store, "k")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (part(4, 8), StoreMisanswered),
        (part(5, 9, size=256_001), StoreMisanswered),
        (found(BODY[:5], status="206 Partial"), StoreMisanswered),
        (found(BODY[1:]), StoreMisanswered),
        (part(5, 9, tag="e2"), ObjectReplaced),
        (found(tag="e2"), ObjectReplaced),
        (told("PreconditionFailed", "412 Precondition Failed"), ObjectReplaced),
        (told("InvalidRange", "416 Range Not Satisfiable"), ObjectReplaced),
        (told("NoSuchKey", "404 Not Found"), ObjectReplaced),
        (told("SlowDown", "503 Slow Down"), StoreUnavailable),
    ],
)
async def test_a_range_is_exactly_that_of_the_version_held_open(
    reply: bytes, error: type[PannierError]
) -> None:
    with serving((found(),), (reply,)) as server:
        async with store_at(server) as store, store.open("k") as reading:
            with pytest.raises(error):
                _ = [piece async for piece in reading.chunks(Span(FAR + 5, FAR + 10))]

    assert server.requests[1].headers["if-match"] == '"e1"'
    assert server.requests[1].headers["range"] == f"bytes={FAR + 5}-{FAR + 9}"


def chunked(reply: bytes, length: int) -> bytes:
    """The same answer with so many bytes of its body alone, and an end as if that was all."""
    head, _, body = reply.partition(b"\r\n\r\n")
    head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    return b"%b\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (head, length, body[:length])


def ranged(first: int, last: int) -> bytes:
    told = f"content-range: bytes {first}-{last}/{len(BODY)}"
    return found(BODY[first : last + 1], told, status="206 Partial")


@pytest.mark.parametrize(
    "begun", [ranged(1, 200_000)[:-1000], chunked(ranged(1, 200_000), 199_000)]
)
async def test_a_range_that_breaks_off_goes_on_in_the_same_version(begun: bytes) -> None:
    with serving((begun,), (ranged(199_001, 200_000),)) as server:
        async with store_at(server) as store:
            store_around = provision().around(store)
            async with store_around.open("k", RangeSpec(1, 200_000)) as reading:
                pieces = [bytes(piece) async for piece in reading.chunks(Span(1, 200_001))]

    assert b"".join(pieces) == BODY[1:200_001]
    asked = [(each.headers["range"], each.headers.get("if-match")) for each in server.requests]
    assert asked == [("bytes=1-200000", None), ("bytes=199001-200000", '"e1"')]


async def test_a_tag_that_became_weak_on_its_way_names_the_version_all_the_same() -> None:
    """As nginx makes those of what it packs."""
    weakened = answer("200 OK", BODY, 'etag: W/"e1"', DATE)
    with serving((weakened,), (part(5, 9), weakened), (DONE,)) as server:
        async with store_at(server) as store:
            async with store.open("k") as reading:
                pieces = reading.chunks(Span(FAR + 5, FAR + 10))
                assert b"".join([bytes(each) async for each in pieces]) == BODY[FAR + 5 :][:5]
            await put(store, "k", b"x", Conditions(if_match=("e1",)))

    matched = [each.headers.get("if-match") for each in server.requests]
    assert matched == [None, '"e1"', None, '"e1"']


async def test_a_short_range_that_ends_too_early_is_asked_for_again() -> None:
    with serving((chunked(ranged(1, 100), 99), ranged(1, 100))) as server:
        async with store_at(server) as store:
            store_around = provision(attempts=2).around(store)
            async with store_around.open("k", RangeSpec(1, 100)) as reading:
                pieces = [bytes(piece) async for piece in reading.chunks(Span(1, 101))]

    assert b"".join(pieces) == BODY[1:101]
    assert len(server.requests) == 2


async def test_bytes_beyond_the_end_do_not_keep_a_checksum_from_being_looked_at() -> None:
    right = encoded(crc64nvme(BODY).to_bytes(8, "big"))
    whole = (
        f"content-range: bytes 0-{len(BODY) - 1}/{len(BODY)}",
        f"x-amz-checksum-crc64nvme: {right}",
    )
    wrong = found(b"\1" + BODY[1:] + b"more", *whole, status="206 Partial")
    with serving(chunked(wrong, len(BODY) + 4)) as server:
        async with store_at(server) as store:
            with pytest.raises(Damaged, match="fails its checksum"):
                await read(store, "k")


async def test_a_body_that_was_read_leaves_nothing_to_be_cleared_away() -> None:
    left: list[object] = []
    hooks = sys.get_asyncgen_hooks()
    with serving(found()) as server:
        async with store_at(server) as store:
            sys.set_asyncgen_hooks(finalizer=left.append)
            try:
                assert await read(store, "k") == BODY
            finally:
                sys.set_asyncgen_hooks(*hooks)

    assert not left


@pytest.mark.parametrize(
    ("span", "body"),
    [
        (Span(0, len(BODY)), found()),
        (Span(0, len(BODY)), found()[:-1000]),
        (Span(FAR, FAR + 5), found()),
    ],
)
async def test_a_connection_is_given_back_before_the_object_is_closed(
    span: Span, body: bytes
) -> None:
    """When all that came by it is read, when it breaks off, and when something else is wanted."""
    with serving((body,), (part(0, 4),)) as server:
        async with pool_to(server) as pool:
            store = store_of(bucket_at(Entrance("h", pool)), GUARDED)
            async with store.open("k") as reading:
                with suppress(StoreUnavailable):
                    _ = [piece async for piece in reading.chunks(span)]

                assert pool.busy == 0


@pytest.mark.parametrize(
    ("reply", "error"),
    [(chunked(found(b"bytes"), 4), StoreUnavailable), (found(b"wrong", OF_BYTES), Damaged)],
)
async def test_a_deadline_is_not_moved_by_putting_other_bytes_in_their_place(
    reply: bytes, error: type[PannierError]
) -> None:
    looked, _, _ = found(b"bytes", OF_BYTES).rpartition(b"bytes")
    with serving((looked, reply, DONE)) as server:
        async with store_at(server) as store:
            with pytest.raises(error):
                await store.touch("k", "e1", NOON * 2)

    assert [request.method for request in server.requests] == ["HEAD", "GET"]


async def test_a_store_that_knows_no_ranges_is_read_up_to_them() -> None:
    once = (found(BODY, "connection: close"),)
    with serving(once, once, once) as server:
        async with store_at(server) as store:
            for ahead in (EVERYTHING, RangeSpec(FAR + 5, FAR + 9)):
                async with store.open("k", ahead) as reading:
                    pieces = reading.chunks(Span(FAR + 5, FAR + 10))
                    assert b"".join([bytes(each) async for each in pieces]) == BODY[FAR + 5 :][:5]

    assert len(server.requests) == 3


async def test_a_condition_that_does_not_hold_costs_no_connection() -> None:
    with serving((told("PreconditionFailed", "412 Precondition Failed"), DONE)) as server:
        async with bucket_on(server) as bucket:
            with pytest.raises(Unmet):
                await bucket.put("k", b"x", {"if-none-match": "*"})
            await bucket.put("k", b"x", {})

    assert server.connections == 1


async def test_every_body_goes_with_its_checksum() -> None:
    upload = answer("200 OK", b"<R><UploadId>u</UploadId></R>")
    part = answer("200 OK", b"", 'etag: "p"')
    with serving((DONE, upload, part, part, answer("200 OK", b"<AResult/>"))) as server:
        async with store_at(server) as store:
            await put(store, "small", b"x")
            await put(store, "large", streamed(BODY * 40, 1 << 20))

    bodies = [request for request in server.requests if request.method == "PUT"]
    assert len(bodies) == 3
    for request in bodies:
        checksum = encoded(crc64nvme(request.body).to_bytes(8, "big"))
        assert request.headers["x-amz-checksum-crc64nvme"] == checksum


async def test_an_error_inside_a_success_is_one_and_the_parts_are_given_up() -> None:
    upload = answer("200 OK", b"<R><UploadId>u</UploadId></R>")
    part = answer("200 OK", b"", 'etag: "p"')
    failed = told("InternalError", "200 OK")
    with serving((upload, part, part, failed, answer("204 No Content"))) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreUnavailable, match="InternalError"):
                await put(store, "k", streamed(BODY * 40, 1 << 20))

    last = server.requests[-1]
    assert (last.method, last.target) == ("DELETE", "/b/k?uploadId=u")


async def test_a_success_before_all_was_sent_is_none() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(DONE)
        peer.wait_for_end()

    with serving(script) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreMisanswered, match="before it had all"):
                await put(store, "k", BODY * 20)


async def test_html_is_no_answer_of_a_store() -> None:
    page = answer("400 Bad Request", b"<html>No required SSL certificate was sent")
    with serving(page) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreMisanswered, match="stands in front of the store"):
                await read(store, "k")
    with serving(answer("200 OK", b"<html></html>")) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreMisanswered):
                await store.list(Listing(""))


async def test_keys_that_are_not_utf_8_are_left_out_of_listings_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pages = (listing("%FEa", "d%FF/x", more=True), listing("d%FF/y", "k"), found(b""))
    with serving(pages) as server:
        async with store_at(server) as store:
            page = await store.list(Listing("", delimiter="/"))

    assert ([record.path for record in page.records], page.prefixes) == (["k"], ())
    assert "start-after=d%FF%2Fx" in server.requests[1].target
    (told,) = [each for each in caplog.records if each.message == "key left out of listings"]
    assert vars(told)["key"] == r"'\udcfea'"


@pytest.mark.parametrize(
    ("delimiter", "pages"),
    [
        ("", (listing("b", more=True), found(b""), listing("b", more=True))),
        ("", (listing("b", more=True), found(b""), listing("a", more=True))),
        ("/", (listing("a/b", more=True), found(b""), listing("a/b", more=True))),
        ("/", (listing(token="t"), listing(token="t"))),
    ],
)
async def test_a_store_that_lists_the_same_again_is_not_asked_for_ever(
    delimiter: str, pages: tuple[bytes, ...]
) -> None:
    with serving(pages) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreMisanswered, match="lists keys again"):
                await store.list(Listing("", delimiter=delimiter))

    assert len(server.requests) == len(pages)


async def test_what_nobody_can_read_may_be_told_again_behind_a_prefix() -> None:
    pages = (listing("d/x", "e%FF", more=True), found(b""), listing("e%FF", "k"), found(b""))
    with serving(pages) as server:
        async with store_at(server) as store:
            page = await store.list(Listing("", delimiter="/"))

    assert ([record.path for record in page.records], page.prefixes) == (["k"], ("d/",))


async def test_a_key_is_copied_from_the_bytes_that_it_was_told_as() -> None:
    with serving(answer("200 OK", b"<CopyObjectResult/>")) as server:
        async with bucket_on(server) as bucket:
            await bucket.copy("a/\udcff", "b", {})

    assert server.request.headers["x-amz-copy-source"] == "/b/a/%FF"


async def test_only_the_code_of_a_refusal_tells_that_there_are_no_lifecycle_rules() -> None:
    none = told("NoSuchLifecycleConfiguration", "404 Not Found")
    denied = b"<Error><Code>Odd</Code><Message>NoSuchLifecycleConfiguration?</Message></Error>"
    with serving((none, answer("403 Forbidden", denied))) as server:
        async with bucket_on(server) as bucket:
            assert await bucket.lifecycle() is None
            with pytest.raises(StoreRefused, match="Odd"):
                await bucket.lifecycle()


async def test_a_store_without_conditions_moves_no_deadline_and_takes_none_to_move() -> None:
    attributes = Attributes(policy="tti", after=1)
    with serving((found(),)) as server:
        async with store_at(server, WEAK) as store:
            with pytest.raises(NotOffered, match="ttl or manual"):
                await store.put("k", whole(b"x"), draft(expires=NOON, attributes=attributes))
            assert server.requests == []
            assert not await store.touch("k", "e1", NOON * 2)

    assert [request.method for request in server.requests] == ["HEAD"]


async def test_conditions_are_checked_first_where_a_store_ignores_them() -> None:
    with serving((MISSING, DONE, found(b"x"))) as server:
        async with store_at(server, WEAK) as store:
            create = Conditions(if_none_match=("*",))
            await put(store, "k", b"x", create)
            with pytest.raises(PannierError):
                await put(store, "k", b"y", create)

    assert [request.method for request in server.requests] == ["HEAD", "PUT", "HEAD"]
    assert "if-none-match" not in server.requests[1].headers


async def test_who_is_overtaken_looks_again_and_gives_up_in_the_end() -> None:
    unmet = told("PreconditionFailed", "412 Precondition Failed")
    with serving((MISSING, unmet) * 8) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreUnavailable, match="others keep changing"):
                await put(store, "k", b"x", Conditions(if_none_match=("other",)))


async def test_an_empty_path_is_no_bucket() -> None:
    with serving(MISSING) as server:
        async with store_at(server) as store:
            assert not await store.delete("")
            for path in ("", f"{OWN}engine.json"):
                with pytest.raises(BadRequest):
                    await put(store, path, b"x")

    assert server.request.target != "/b"


async def test_a_busy_store_says_when_to_ask_again() -> None:
    with serving(
        answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", "retry-after: 7")
    ) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreBusy) as caught:
                await put(store, "k", b"x")

    assert caught.value.wait == 7


async def test_each_endpoint_is_asked_by_its_own_name() -> None:
    with serving(DONE) as one, serving(DONE) as other:
        ports = [urlsplit(each.url).port or 0 for each in (one, other)]
        pools = [Pool(Endpoint("127.0.0.1", port)) for port in ports]
        entrances = [Entrance(f"host{n}", pool) for n, pool in enumerate(pools)]
        store = store_of(bucket_at(*entrances), GUARDED)
        while not (one.requests and other.requests):
            await put(store, "k", b"x")
        for pool in pools:
            pool.close()
        await turns()

    for number, server in enumerate((one, other)):
        assert {each.headers["host"] for each in server.requests} == {f"host{number}"}


async def test_who_may_not_is_told_what_to_check() -> None:
    with serving(told("AccessDenied", "403 Forbidden")) as server:
        async with store_at(server) as store:
            with pytest.raises(StoreRefused, match=r"Bucket ns/n \('b' at http://127.0.0.1:\d+\)"):
                await put(store, "k", b"x")
