"""What each call of a session sends, and what it makes of the answer."""

import json
from datetime import timedelta

import pytest

from pannier import (
    AlreadyExists,
    Client,
    Expiration,
    GetResult,
    Metadata,
    NotFound,
    NotModified,
    ObjectEntry,
    Overloaded,
    Page,
    ProtocolError,
    PutResult,
    Session,
    StorageFull,
)
from pannier.protocol import Malformed
from support.scripted import OK_PUT, answer, serving


def session(url: str) -> Session:
    return Client(url, pool_size=0).session("abc", org=42, project=7)


def test_a_put_states_its_metadata_and_its_length() -> None:
    with serving(OK_PUT) as server:
        stored = session(server.url).put(
            b"hello",
            "k",
            content_type="text/plain",
            expiration=Expiration.ttl(timedelta(days=30)),
            origin="10.0.0.1",
            filename="é.txt",
            custom={"Owner": "me"},
            if_match="e0",
        )

    assert stored == PutResult("k", "e1", 5)
    request = server.request
    assert (request.method, request.target) == ("PUT", "/v1/objects/abc/org=42;project=7/k")
    assert request.body == b"hello"
    assert {k: v for k, v in request.headers.items() if k not in {"host", "user-agent"}} == {
        "content-length": "5",
        "content-type": "text/plain",
        "x-sn-expiration": "ttl:30d",
        "x-sn-origin": "10.0.0.1",
        "x-sn-filename": "%C3%A9.txt",
        "x-snme-owner": "me",
        "if-match": '"e0"',
    }
    assert request.headers["user-agent"].startswith("pannier/")


def test_a_put_without_a_key_lets_the_server_pick() -> None:
    with serving(answer("201 Created", b'{"key": "picked"}')) as server:
        stored = session(server.url).put(b"x")

    assert stored == PutResult("picked", None, 1)
    assert (server.request.method, server.request.target[-10:]) == ("POST", "project=7/")


def test_data_that_is_already_zstd_is_declared_so() -> None:
    with serving(OK_PUT) as server:
        session(server.url).put(b"\x28\xb5\x2f\xfd", "k", precompressed="zstd")

    assert server.request.headers["content-encoding"] == "zstd"


def test_a_create_only_put_that_comes_second_says_so() -> None:
    with (
        serving(answer("412 Precondition Failed")) as server,
        pytest.raises(AlreadyExists) as raised,
    ):
        session(server.url).put(b"x", "k", if_none_match="*")

    assert server.request.headers["if-none-match"] == "*"
    assert isinstance(raised.value, FileExistsError)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"key": "other"}', b'{"key": 1}'])
def test_an_answer_that_confirms_no_put_is_an_error(body: bytes) -> None:
    with serving(answer(body=body)) as server, pytest.raises(ProtocolError, match="put 'k'"):
        session(server.url).put(b"x", "k")


def test_a_get_gives_metadata_and_bytes() -> None:
    reply = answer("200 OK", b"hello", "content-type: text/plain", 'etag: "e"', "x-snme-a: b")
    with serving(reply) as server, session(server.url).get("a b/é") as result:
        assert result.read() == b"hello"

    assert result.metadata.content_type == "text/plain"
    assert result.metadata.etag == "e"
    assert result.metadata.custom == {"a": "b"}
    assert server.request.target == "/v1/objects/abc/org=42;project=7/a%20b/%C3%A9"
    assert server.request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("asked", "header", "answered", "body"),
    [
        ((0, 5), "bytes=0-4", "bytes 0-4/22", b"01234"),
        ((7, None), "bytes=7-", "bytes 7-21/22", b"x" * 15),
        ((-9, None), "bytes=-9", "bytes 13-21/22", b"x" * 9),
        ((20, 99), "bytes=20-98", "bytes 20-21/22", b"yz"),
        ((-99, None), "bytes=-99", "bytes 0-21/22", b"x" * 22),
    ],
)
def test_a_range_is_asked_for_and_checked(
    asked: tuple[int, int | None], header: str, answered: str, body: bytes
) -> None:
    reply = answer("206 Partial Content", body, f"content-range: {answered}")
    with serving(reply) as server, session(server.url).get("k", range=asked) as result:
        assert result.read() == body

    assert server.request.headers["range"] == header
    assert result.range is not None
    assert result.range.stop - result.range.start == len(body)
    assert result.range.total == 22


@pytest.mark.parametrize(
    "reply",
    [
        answer("200 OK", b"everything"),
        answer("206 Partial Content", b"01234"),
        answer("206 Partial Content", b"01234", "content-range: bytes 1-5/22"),
        answer("206 Partial Content", b"01234", "content-range: bytes 0-3/22"),
        answer("206 Partial Content", b"0123", "content-range: bytes 0-4/22"),
        answer("206 Partial Content", b"01234", "content-range: bytes 0-4/*"),
    ],
)
def test_another_range_than_the_one_asked_for_is_an_error(reply: bytes) -> None:
    with serving(reply) as server, pytest.raises(ProtocolError):
        session(server.url).get("k", range=(0, 5))


@pytest.mark.parametrize("asked", [(5, 5), (5, 4), (-5, 3), (-5, -1)])
def test_a_range_that_cannot_be_asked_for_is_refused_before(asked: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="range="):
        session("http://127.0.0.1:9").get("k", range=asked)


def test_an_unchanged_object_is_not_sent_again() -> None:
    with (
        serving(b'HTTP/1.1 304 Not Modified\r\netag: "e"\r\n\r\n') as server,
        pytest.raises(NotModified),
    ):
        session(server.url).get("k", if_none_match="e")

    assert server.request.headers["if-none-match"] == '"e"'


def test_compressed_bytes_are_handed_out_to_those_alone_who_ask_for_them() -> None:
    with serving(answer("200 OK", b"zzz", "content-encoding: zstd")) as server:
        with session(server.url).get("k", accept_encoding="zstd") as result:
            assert (result.metadata.compression, result.read()) == ("zstd", b"zzz")
        with pytest.raises(ProtocolError, match="identity"):
            session(server.url).get("k")


def test_a_missing_object_is_not_found_in_both_worlds() -> None:
    with serving(answer("404 Not Found")) as server:
        with pytest.raises(NotFound, match=r"get 'k' in usecase 'abc': 404: Not Found") as raised:
            session(server.url).get("k")
        with pytest.raises(FileNotFoundError):
            session(server.url).head("k")

    assert (raised.value.operation, raised.value.usecase, raised.value.key) == ("get", "abc", "k")


def test_a_head_reads_metadata_and_waits_for_no_body() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\nx-sn-size: 10\r\n\r\n"
    with serving(head) as server, Client(server.url) as client:
        metadata = client.session("abc").head("k")
        again = client.session("abc").head("k")

    assert metadata == again == Metadata.from_response_headers([("x-sn-size", "10")])
    assert server.connections == 1


def test_a_delete_is_done_when_the_server_says_so() -> None:
    with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as server, Client(server.url) as client:
        client.session("abc").delete("k")
        client.session("abc").delete("k")

    assert [request.method for request in server.requests] == ["DELETE", "DELETE"]
    assert server.connections == 1


def test_a_refusal_carries_the_words_of_the_server() -> None:
    detail = json.dumps({"detail": "client error: usecase abc is not declared", "causes": []})
    with (
        serving(answer("404 Not Found", detail.encode())) as server,
        pytest.raises(NotFound, match="usecase abc is not declared") as raised,
    ):
        session(server.url).put(b"x", "k")

    assert raised.value.detail == "client error: usecase abc is not declared"
    assert raised.value.status == 404


def test_an_overloaded_server_may_say_when_to_come_back() -> None:
    with (
        serving(answer("503 Service Unavailable", b"full", "retry-after: 7")) as server,
        pytest.raises(Overloaded, match="full") as raised,
    ):
        session(server.url).get("k")

    assert raised.value.retry_after == 7.0


def test_a_redirect_is_followed_nowhere() -> None:
    with (
        serving(answer("302 Found", b"", "location: http://elsewhere/")) as server,
        pytest.raises(ProtocolError, match="302"),
    ):
        session(server.url).get("k")


def test_an_unreadable_answer_is_an_error() -> None:
    with (
        serving(answer("200 OK", b"", "x-sn-size: many")) as server,
        pytest.raises(ProtocolError, match="x-sn-size"),
    ):
        session(server.url).get("k")


def page(keys: list[str], following: str | None) -> bytes:
    objects = [
        {"key": key, "size": 3, "etag": "e", "content_type": "text/plain", "new": {"a": 1}}
        | {"time_created": "1970-01-01T00:00:01.000000Z", "time_expires": None, "original_size": 9}
        for key in keys
    ]
    document = {"objects": objects, "prefixes": ["p/"], "next": following, "more": []}
    return answer("200 OK", json.dumps(document).encode())


def test_a_listing_asks_for_pages_as_they_are_looked_at() -> None:
    both = (page(["a", "b"], "b"), page(["c d"], None))
    with serving(both) as server, Client(server.url) as client:
        listing = client.session("abc").list("x y", start_after="0", page_size=2)
        assert server.requests == []
        assert next(listing).key == "a"
        assert len(server.requests) == 1
        assert [entry.key for entry in listing] == ["b", "c d"]

    assert [request.target for request in server.requests] == [
        "/v1/objects/abc/_/?prefix=x+y&limit=2&start_after=0",
        "/v1/objects/abc/_/?prefix=x+y&limit=2&start_after=b",
    ]


def test_pages_have_prefixes_and_entries_with_all_their_fields() -> None:
    with serving(page(["a"], None)) as server:
        (only,) = session(server.url).list(delimiter="/").pages()

    entry = ObjectEntry("a", 3, "e", "text/plain", 1_000_000, None, 9)
    assert only == Page((entry,), ("p/",), None)
    assert server.request.target.endswith("/?delimiter=%2F")


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"objects": [{}]}', b'{"objects": 3}', b'{"objects": [{"key": "a"}]}']
)
def test_a_page_that_cannot_be_read_is_an_error(body: bytes) -> None:
    with serving(answer(body=body)) as server, pytest.raises(ProtocolError, match="list"):
        list(session(server.url).list())


def test_a_listing_that_does_not_get_on_is_an_error() -> None:
    with serving(page(["a"], "a")) as server, pytest.raises(ProtocolError, match="get on"):
        list(session(server.url).list())


def test_an_object_has_a_url_with_its_port() -> None:
    url = session("http://localhost").object_url("a b")

    assert url == "http://localhost:80/v1/objects/abc/org=42;project=7/a%20b"
    assert Client("https://[::1]/base/").session("abc").object_url("k") == (
        "https://[::1]:443/base/v1/objects/abc/_/k"
    )


def test_a_base_path_and_headers_go_with_every_request() -> None:
    with serving(answer()) as server:
        client = Client(server.url + "/base/", headers={"X-Downstream-Service": "me"}, pool_size=0)
        client.session("abc").head("k")

    assert server.request.target == "/base/v1/objects/abc/_/k"
    assert server.request.headers["x-downstream-service"] == "me"


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 1025])
def test_a_key_that_cannot_be_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(Malformed):
        session("http://127.0.0.1:9").get(key)


@pytest.mark.parametrize("tag", ['"e"', "a b", "é", "a\r\nb"])
def test_an_etag_comes_without_quotes(tag: str) -> None:
    with pytest.raises(ValueError, match="if_match="):
        session("http://127.0.0.1:9").get("k", if_match=tag)


def test_a_full_store_has_its_own_error() -> None:
    with serving(answer("507 Insufficient Storage")) as server, pytest.raises(StorageFull):
        session(server.url).put(b"x", "k")


def test_reprs_show_where_and_what() -> None:
    client = Client("http://127.0.0.1:9")

    assert repr(client) == "<Client http://127.0.0.1:9 0 idle>"
    assert repr(client.session("abc", org=1)) == "<Session abc org=1 at http://127.0.0.1:9>"
    client.close()
    assert repr(client) == "<Client http://127.0.0.1:9 closed>"
    with serving(answer(body=b"12345")) as server:
        result: GetResult = session(server.url).get("k")
        result.read(2)
        assert repr(result) == "<GetResult 2/5 bytes>"
        result.close()
    assert repr(result).endswith(" closed>")
