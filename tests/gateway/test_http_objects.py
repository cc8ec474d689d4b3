"""Objects over HTTP: what every method answers, byte for byte where the protocol cares."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest

from support.gateway import Gateway
from support.wire import Wire, chunked, exchange

MOMENT = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def test_what_is_put_can_be_got(wire: Wire, plain: str) -> None:
    put = wire.ask("PUT", plain + "k", body=b"bytes")
    got = wire.ask("GET", plain + "k")

    assert (put.status, json.loads(put.body)) == (200, {"key": "k"})
    assert (got.status, got.body) == (200, b"bytes")
    assert got.headers["content-length"] == got.headers["x-sn-size"] == "5"
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["content-disposition"] == "attachment"
    assert re.fullmatch(MOMENT, got.headers["x-sn-time-created"])
    assert {"content-encoding", "content-range", "x-sn-expiration"}.isdisjoint(got.headers)


@pytest.mark.parametrize("slash", ["", "/"], ids=["bare", "slash"])
def test_a_post_gets_a_key_of_its_own(wire: Wire, plain: str, slash: str) -> None:
    posted = wire.ask("POST", plain.rstrip("/") + slash, body=b"bytes")

    key = json.loads(posted.body)["key"]
    assert posted.status == 201
    assert UUID(key).version == 4
    assert wire.ask("GET", plain + key).body == b"bytes"


def test_head_says_what_get_says(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", {"content-type": "text/plain", "x-snme-a": "b"}, b"bytes")

    head, got = wire.ask("HEAD", plain + "k"), wire.ask("GET", plain + "k")

    assert (head.status, head.body) == (200, b"")
    assert head.headers | {"date": ""} == got.headers | {"date": ""}


def test_delete_is_idempotent(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", body=b"bytes")

    answers = [wire.ask("DELETE", plain + "k") for _ in range(2)]

    assert [(each.status, each.body) for each in answers] == [(204, b"")] * 2
    assert "content-length" not in answers[0].headers
    assert wire.ask("GET", plain + "k").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_absent_object_is_404_without_a_word(wire: Wire, plain: str, method: str) -> None:
    answer = wire.ask(method, plain + "absent")

    assert (answer.status, answer.body) == (404, b"")
    assert answer.headers["content-length"] == "0"


def test_an_overwrite_replaces_bytes_and_metadata(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", {"x-sn-filename": "old", "x-snme-a": "b"}, b"old bytes")
    wire.ask("PUT", plain + "k", body=b"new")

    got = wire.ask("GET", plain + "k")
    assert got.body == b"new"
    assert {"x-sn-filename", "x-snme-a"}.isdisjoint(got.headers)


@pytest.mark.parametrize("body", [None, b"", chunked()], ids=["unframed", "sized", "chunked"])
def test_an_empty_body_is_an_empty_object(wire: Wire, plain: str, body: bytes | None) -> None:
    framing = {"transfer-encoding": "chunked"} if body else None
    wire.ask("PUT", plain + "k", framing, body)

    got = wire.ask("GET", plain + "k")
    assert (got.status, got.headers["content-length"], got.body) == (200, "0", b"")


def test_chunks_and_their_extensions_and_trailers_leave_only_the_data(
    wire: Wire, plain: str
) -> None:
    body = b"5;a=b\r\nhello\r\n006\r\n world\r\n0\r\nx-snme-late: no\r\n\r\n"
    wire.ask("PUT", plain + "k", {"transfer-encoding": "chunked"}, body)

    got = wire.ask("GET", plain + "k")
    assert got.body == b"hello world"
    assert "x-snme-late" not in got.headers


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("looks%2520encoded", "looks%20encoded"),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("tail/", "tail/"),
        ("a/./b", "a/./b"),
        ("../../x", "../../x"),
        ("%2e%2e/%2E%2E/x", "../../x"),
        (".", "."),
        ("..", ".."),
        ("a+b", "a+b"),
        ("a%20b/%2520;c", "a b/%20;c"),
        ("~.-_:@!$&'()*,;=", "~.-_:@!$&'()*,;="),
        ("100%25", "100%"),
        ("%C3%A9", "é"),
        ("e%CC%81", "e\u0301"),
        ("%F0%9F%8E%92", "\N{SCHOOL SATCHEL}"),
        ("%09%0D%0A%7F", "\t\r\n\x7f"),
        ("%3Fq%23f", "?q#f"),
        ("k?q=1", "k"),
    ],
)
def test_a_key_is_the_raw_path_decoded_once(wire: Wire, plain: str, raw: str, key: str) -> None:
    put = wire.ask("PUT", plain + raw, body=raw.encode())

    assert json.loads(put.body) == {"key": key}
    assert wire.ask("GET", plain + raw).body == raw.encode()
    assert [each["key"] for each in json.loads(wire.ask("GET", plain).body)["objects"]] == [key]


def test_keys_that_only_look_alike_are_different_objects(wire: Wire, plain: str) -> None:
    keys = ["a", "a/", "a/b", "a//b", "A", "/a", "./a", "a/../a", "%C3%A9", "e%CC%81", "%2561"]
    for key in keys:
        wire.ask("PUT", plain + key, body=key.encode())

    for key in keys:
        assert wire.ask("GET", plain + key).body == key.encode()


def test_scopes_are_decoded_after_the_path_is_split(wire: Wire, scope: str) -> None:
    wire.ask("PUT", f"/v1/objects/plain/{scope};name=it's(1)!/k", body=b"x")

    other = f"/v1/objects/pl%61in/{scope.replace('=', '%3D')}%3Bname=it's(1)!/k"
    assert wire.ask("GET", other).body == b"x"
    assert wire.ask("GET", f"/v1/objects/plain/name=it's(1)!;{scope}/k").status == 404
    assert wire.ask("GET", f"/v1/objects/plain/{scope}/k").status == 404


def test_a_whole_url_as_target_means_its_path(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", body=b"x")

    assert wire.ask("GET", f"http://anywhere.example{plain}k").body == b"x"


def test_a_usecase_may_have_a_name_that_no_resource_can(wire: Wire, scope: str) -> None:
    assert wire.ask("PUT", f"/v1/objects/Old_Name/{scope}/k", body=b"x").status == 200
    assert wire.ask("PUT", f"/v1/objects/old_name/{scope}/k", body=b"x").status == 404


def test_a_key_of_a_large_body_never_names_a_file(
    gateway: Gateway, wire: Wire, plain: str, scope: str
) -> None:
    name = scope.replace("=", "-")
    wire.ask("PUT", f"{plain}../../../../{name}", body=bytes(1 << 20))
    wire.ask("PUT", f"{plain}/tmp/{name}", body=bytes(1 << 20))

    everything = list(gateway.log.parent.rglob("*"))
    assert len(everything) > 10
    assert [path for path in everything if name in str(path)] == []
    assert not Path("/tmp", name).exists()


# Metadata


def test_metadata_comes_back_as_it_was_said(wire: Wire, plain: str) -> None:
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "x-sn-origin": "10.0.0.1",
        "x-sn-filename": "na%C3%AFve.txt",
        "X-SNME-Foo-Bar": "%C3%A9%25 100%",
        "x-snme-empty": "",
    }
    wire.ask("PUT", plain + "k", sent, b"x")

    headers = wire.ask("GET", plain + "k").headers
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["x-sn-origin"] == "10.0.0.1"
    assert headers["x-sn-filename"] == "na%C3%AFve.txt"
    assert headers["x-snme-foo-bar"] == "%C3%A9%25 100%25"
    assert headers["x-snme-empty"] == ""


def test_of_a_repeated_metadata_header_the_last_counts(wire: Wire, plain: str) -> None:
    wire.send(b"PUT %bk HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n" % plain.encode())
    wire.send(b"x-snme-a: first\r\nX-Snme-A: last\r\n\r\n")
    wire.answer()

    assert wire.ask("GET", plain + "k").headers["x-snme-a"] == "last"


def test_what_only_the_server_knows_is_not_taken_from_a_client(wire: Wire, plain: str) -> None:
    claims = {
        "x-sn-size": "a million",
        "x-sn-time-created": "yesterday",
        "x-sn-time-expires": "2000-01-01",
        "etag": '"mine"',
    }
    wire.ask("PUT", plain + "k", claims, b"x")

    headers = wire.ask("GET", plain + "k").headers
    assert headers["x-sn-size"] == "1"
    assert re.fullmatch(MOMENT, headers["x-sn-time-created"])
    assert headers["etag"] != '"mine"'
    assert "x-sn-time-expires" not in headers


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("a b.txt", 'attachment; filename="a b.txt"'),
        ('say "hi".txt', 'attachment; filename="say \\"hi\\".txt"'),
        ("../etc/passwd", 'attachment; filename="..-etc-passwd"'),
        ("a\\b", 'attachment; filename="a-b"'),
        (".", 'attachment; filename="-"'),
        ("..", 'attachment; filename="--"'),
        ("", 'attachment; filename=""'),
        ("na%C3%AFve.txt", "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ("a%0D%0Ab", 'attachment; filename="a__b"'),
    ],
)
def test_a_filename_becomes_a_harmless_disposition(
    wire: Wire, plain: str, filename: str, disposition: str
) -> None:
    wire.ask("PUT", plain + "k", {"x-sn-filename": filename}, b"x")

    assert wire.ask("GET", plain + "k").headers["content-disposition"] == disposition


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("ttl:400 days 4711 seconds", "ttl:400d 1h 18m 31s"),
        ("tti:1.5d", "tti:1d 12h"),
        ("ttl:1h30m", "ttl:1h 30m"),
        ("ttl:90 seconds 900ms", "ttl:1m 30s"),
        ("tti:2 years", "tti:730d 12h"),
    ],
)
def test_durations_are_read_generously_and_written_strictly(
    wire: Wire, plain: str, said: str, shown: str
) -> None:
    assert wire.ask("PUT", plain + "k", {"x-sn-expiration": said}, b"x").status == 200

    headers = wire.ask("GET", plain + "k").headers
    assert headers["x-sn-expiration"] == shown
    assert re.fullmatch(MOMENT, headers["x-sn-time-expires"])


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content-encoding", "gzip"),
        ("content-encoding", ""),
        ("content-encoding", "ZSTD"),
        ("content-type", "nonsense"),
        ("content-type", "text/plain; \udcff=1"),
        ("x-sn-expiration", ""),
        ("x-sn-expiration", "TTL:1d"),
        ("x-sn-expiration", "ttl:5"),
        ("x-sn-expiration", "ttl:-1d"),
        ("x-sn-expiration", "ttl:106751991167301d"),
        ("x-sn-expiration", "ttl:" + "9" * 5000 + "d"),
        ("x-sn-filename", "%FF"),
        ("x-sn-filename", "\udcff"),
        ("x-sn-origin", "%C0%AF"),
        ("x-snme-a", "%ED%A0%80"),
        ("x-snme-", "nameless"),
        ("expect", "200-maybe"),
    ],
)
def test_metadata_that_cannot_be_read_is_refused_in_words(
    wire: Wire, plain: str, header: str, value: str
) -> None:
    answer = wire.ask("PUT", plain + "k", {header: value}, b"x")

    assert answer.status == (417 if header == "expect" else 400)
    assert answer.detail.startswith("client error: ")
    assert exchange(wire.url, "GET", plain + "k").status == 404


# Routes


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_and_ready_are_there_too(wire: Wire, path: str) -> None:
    answer = wire.ask("GET", path)

    assert (answer.status, answer.body) == (200, b"OK")
    assert wire.ask("HEAD", path).status == 200
    assert wire.ask("POST", path, body=b"").headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("method", "tail", "allowed"),
    [
        ("PATCH", "k", "GET, HEAD, PUT, DELETE"),
        ("POST", "k", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", "k", "GET, HEAD, PUT, DELETE"),
        ("PUT", "", "POST, GET"),
        ("DELETE", "", "POST, GET"),
    ],
)
def test_a_method_that_is_not_offered_is_405(
    wire: Wire, plain: str, method: str, tail: str, allowed: str
) -> None:
    answer = wire.ask(method, plain + tail)

    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert f"{method} is not offered here, but {allowed}" in answer.detail


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/objects", "/v1/objects/", "/v1/objects/plain", "/v2/objects/plain/_/k", "//"],
)
def test_what_is_no_route_is_404(wire: Wire, path: str) -> None:
    answer = wire.ask("GET", path)

    assert answer.status == 404
    assert "/v1/objects/USECASE/SCOPES/KEY" in answer.detail


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/objects:batch/plain/_/"),
        ("POST", "/v1/objects:multipart/plain/_"),
        ("PUT", "/v1/objects:multipart:parts/plain/_/k?upload_id=1&part_number=1"),
        ("PUT", "/v1/objects/plain/_/k?upload_type=resumable"),
        ("POST", "/v1/objects/plain/_/?upload_type=resumable"),
        ("PUT", "/v1/objects/plain/_/k?session=abc"),
        ("DELETE", "/v1/objects/plain/_/k?session=abc"),
    ],
)
def test_what_the_protocol_has_and_this_gateway_lacks_is_501(
    wire: Wire, method: str, target: str
) -> None:
    answer = wire.ask(method, target, body=b"")

    assert (answer.status, "not offered" in answer.detail) == (501, True)
    assert wire.ask("GET", "/v1/objects/plain/_/k").status == 404


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/v1/objects/ab/_/k", "usecase"),
        ("/v1/objects/" + "a" * 65 + "/_/k", "usecase"),
        ("/v1/objects/a.b/_/k", "usecase"),
        ("/v1/objects/plain//k", "scope"),
        ("/v1/objects/plain/org/k", "scope"),
        ("/v1/objects/plain/org=/k", "scope"),
        ("/v1/objects/plain/org=1;/k", "scope"),
        ("/v1/objects/plain/org=a.b/k", "scope"),
        ("/v1/objects/plain/org=%2E%2E/k", "scope"),
        ("/v1/objects/plain/org=a%2Fb/k", "scope"),
        ("/v1/objects/plain/_/%", "escape"),
        ("/v1/objects/plain/_/%zz", "escape"),
        ("/v1/objects/plain/_/%C0%AE", "UTF-8"),
        ("/v1/objects/plain/_/%ED%A0%80", "UTF-8"),
        ("/v1/objects/plain/_/é", "url"),
        ("/v1/objects/plain/_/\udcff", "url"),
        ("/v1/objects/plain/_/a%00b", "NUL"),
        ("/v1/objects/plain/_/" + "k" * 1025, "1024"),
        ("/v1/objects/plain/_/" + "%C3%A9" * 513, "1024"),
        ("/v1/objects/plain/_/k?a=%zz", "escape"),
    ],
)
def test_a_target_that_cannot_be_read_is_refused_in_words(
    wire: Wire, target: str, said: str
) -> None:
    answer = wire.ask("GET", target)

    assert answer.status == 400
    assert said in answer.detail


def test_a_target_longer_than_any_key_is_refused(gateway: Gateway) -> None:
    answer = exchange(gateway.url, "GET", "/v1/objects/plain/_/" + "k" * 10_000)

    assert answer.status in (400, 431)
    assert answer.detail


# The wire


def test_every_header_name_is_lowercase(gateway: Gateway, wire: Wire, packed: str) -> None:
    text = b"compressible " * 1000
    metadata = {"X-SN-Filename": "a", "X-SN-Origin": "b", "X-SNME-C": "d"}
    answers = [
        wire.ask("PUT", packed + "k", metadata | {"X-SN-Expiration": "ttl:1h"}, text),
        wire.ask("POST", packed, body=b"x"),
        wire.ask("GET", packed + "k"),
        wire.ask("GET", packed + "k", {"accept-encoding": "zstd"}),
        wire.ask("GET", packed + "k", {"range": "bytes=0-4"}),
        wire.ask("GET", packed + "k", {"range": "bytes=999999-"}),
        wire.ask("GET", packed + "k", {"if-none-match": "*"}),
        wire.ask("HEAD", packed + "k"),
        wire.ask("GET", packed),
        wire.ask("GET", packed + "absent"),
        wire.ask("PATCH", packed + "k"),
        wire.ask("DELETE", packed + "k"),
        wire.ask("GET", "/health"),
        exchange(gateway.url, "NONSENSE", "/"),
        exchange(gateway.url, "GET", "/health", {"connection": "close"}),
    ]

    assert {answer.status for answer in answers} >= {200, 201, 204, 206, 304, 400, 404, 405, 416}
    for name in (name for answer in answers for name, _ in answer.fields):
        assert name == name.lower()


def test_every_answer_names_the_server_and_no_header_comes_twice(
    gateway: Gateway, wire: Wire, plain: str
) -> None:
    answers = [
        wire.ask("PUT", plain + "k", body=b"x"),
        wire.ask("GET", plain + "k"),
        wire.ask("GET", plain + "absent"),
        exchange(gateway.url, "NONSENSE", "/"),
    ]

    for answer in answers:
        assert answer.headers["server"] == "pannier"  # and no version to find holes for
        assert len(answer.headers) == len(answer.fields)
        assert "date" in answer.headers


def test_answers_in_json_end_their_line_for_terminals(
    gateway: Gateway, wire: Wire, plain: str
) -> None:
    answers = [
        wire.ask("PUT", plain + "k", body=b"x"),
        wire.ask("POST", plain, body=b"x"),
        wire.ask("GET", plain),
        wire.ask("GET", "/nowhere"),
        exchange(gateway.url, "GET", "/health", {"origin": "https://pages.example"}),
    ]

    for answer in answers:
        assert answer.body.endswith(b"}\n")
        assert json.loads(answer.body)


def test_one_connection_serves_whatever_follows_a_refusal(wire: Wire, plain: str) -> None:
    asked = [
        wire.ask("PUT", "/v1/objects/nobody/_/k", body=bytes(300_000)),
        wire.ask("PUT", plain + "k", {"content-encoding": "gzip"}, bytes(300_000)),
        wire.ask("GET", plain + "k", {"range": "nonsense"}),
        wire.ask("PUT", plain + "k", body=b"x"),
        wire.ask("GET", plain + "k"),
    ]

    assert [answer.status for answer in asked] == [404, 400, 400, 200, 200]


def test_requests_sent_ahead_are_answered_in_order(wire: Wire, plain: str) -> None:
    for number in range(20):
        put = f"PUT {plain}{number} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{number:02}"
        wire.send(f"{put}GET {plain}{number} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    answers = [wire.answer() for _ in range(40)]
    assert [answer.body for answer in answers[1::2]] == [b"%02d" % n for n in range(20)]


def test_a_client_of_http_1_0_is_served_and_left(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", body=b"bytes")
    wire.send(f"GET {plain}k HTTP/1.0\r\n\r\n".encode())

    assert wire.answer().body == b"bytes"
    assert wire.rest() == b""
