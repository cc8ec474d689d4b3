"""Compression over HTTP: what is kept compressed, and which form each reader gets."""

import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from support.gateway import Gateway
from support.wire import Wire, chunked, exchange
from support.zstd_bodies import bomb, chunks, decoded, noise, skippable, streamed, text

TEXT = text(50_000)
LARGE = (text(1 << 20) * 4)[:-777]
NOISE = noise(50_000)
ZSTD = zstandard.compress(TEXT)
CHECKED = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
STOCK = {"user-agent": "objectstore-client/0.2.10", "accept-encoding": "identity"}
BY_CLIENT = {"content-encoding": "zstd"}

IDENTITY, ENCODED, REFUSED = "identity", "zstd", None
NEGOTIATIONS = [
    # accept-encoding, and what comes of an object kept as zstd and of one kept as it came
    (None, IDENTITY, IDENTITY),
    ("", IDENTITY, IDENTITY),
    ("identity", IDENTITY, IDENTITY),
    ("gzip, deflate, br", IDENTITY, IDENTITY),
    ("zstd", ENCODED, IDENTITY),
    ("ZSTD", ENCODED, IDENTITY),
    ("gzip, zstd;q=0.1", ENCODED, IDENTITY),
    ("*", ENCODED, IDENTITY),
    ("*;q=0.5", ENCODED, IDENTITY),
    ("zstd;q=0.5, identity;q=0.5", ENCODED, IDENTITY),
    ("zstd;q=0.5, identity", IDENTITY, IDENTITY),
    ("zstd;q=0", IDENTITY, IDENTITY),
    ("zstd; q=0.000", IDENTITY, IDENTITY),
    ("zstd;q=0, *", IDENTITY, IDENTITY),
    ("identity;q=0, *", ENCODED, REFUSED),
    ("identity;q=0, zstd", ENCODED, REFUSED),
    ("zstd, *;q=0", ENCODED, REFUSED),
    ("identity;q=0", REFUSED, REFUSED),
    ("*;q=0", REFUSED, REFUSED),
    ("gzip, *;q=0", REFUSED, REFUSED),
    ("zstd;q=0, identity;q=0", REFUSED, REFUSED),
    ("identity, *;q=0", IDENTITY, IDENTITY),
    ("zstd;q=high", IDENTITY, IDENTITY),
]


@pytest.fixture(scope="module")
def kept(gateway: Gateway) -> str:
    """Where TEXT lies in three forms: `by-gateway` and `by-client` as zstd, `plain` as it came."""
    place = "/v1/objects/packed/kept=forms/"
    exchange(gateway.url, "PUT", place + "by-gateway", body=TEXT)
    exchange(gateway.url, "PUT", place + "by-client", BY_CLIENT, ZSTD)
    exchange(gateway.url, "PUT", place + "plain", {"content-type": "application/gzip"}, TEXT)
    return place


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("key", ["by-gateway", "by-client", "plain"])
@pytest.mark.parametrize(("accept", "if_zstd", "if_plain"), NEGOTIATIONS)
def test_a_reader_gets_the_form_it_accepts(
    wire: Wire,
    kept: str,
    method: str,
    key: str,
    accept: str | None,
    if_zstd: str | None,
    if_plain: str | None,
) -> None:
    expected = if_plain if key == "plain" else if_zstd

    answer = wire.ask(method, kept + key, {} if accept is None else {"accept-encoding": accept})

    if expected is REFUSED:
        assert answer.status == 406
        assert method == "HEAD" or "identity" in answer.detail
        return
    assert answer.headers.get("content-encoding", IDENTITY) == expected
    assert ("vary" in answer.headers) == (key != "plain")
    if method == "GET":
        assert (decoded(answer.body) if expected == ENCODED else answer.body) == TEXT


def test_what_varies_says_so(wire: Wire, kept: str) -> None:
    for headers in ({}, {"accept-encoding": "zstd"}, {"range": "bytes=0-4"}, {"if-match": "*"}):
        assert wire.ask("GET", kept + "by-gateway", headers).headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("sign", [STOCK, {"x-os-auth": "Bearer token"}], ids=["agent", "token"])
@pytest.mark.parametrize("key", ["by-gateway", "by-client", "plain"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_stock_client_gets_what_a_client_sent(
    wire: Wire, kept: str, method: str, key: str, sign: dict[str, str]
) -> None:
    sent = ZSTD if key == "by-client" else TEXT

    answer = wire.ask(method, kept + key, sign)

    assert answer.headers.get("content-encoding") == ("zstd" if key == "by-client" else None)
    assert answer.headers["x-sn-size"] == answer.headers["content-length"] == str(len(sent))
    assert method == "HEAD" or answer.body == sent


def test_sizes_before_and_after_are_known(wire: Wire, packed: str) -> None:
    wire.ask("PUT", packed + "k", body=TEXT)

    plain = wire.ask("GET", packed + "k").headers
    encoded = wire.ask("GET", packed + "k", {"accept-encoding": "zstd"}).headers
    (listed,) = json.loads(wire.ask("GET", packed).body)["objects"]

    assert plain["content-length"] == plain["x-pannier-original-size"] == str(len(TEXT))
    assert plain["x-sn-size"] == encoded["x-sn-size"] == encoded["content-length"]
    assert int(plain["x-sn-size"]) < len(TEXT) / 2
    assert (str(listed["size"]), listed["original_size"]) == (plain["x-sn-size"], len(TEXT))
    assert listed["compression"] == "zstd"


# What is not decoded


@pytest.fixture(params=["small", "large", "in its last frame"])
def wide(wire: Wire, plain: str, request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """An object that a client sent as zstd with a window of 16 MiB, and its bytes."""
    before = {"small": b"", "large": streamed(LARGE), "in its last frame": ZSTD}[request.param]
    body = before + bomb(1 << 20, window_log=24)
    assert wire.ask("PUT", plain + "wide", BY_CLIENT, body).status == 200
    return plain + "wide", body


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-9"}, {"accept-encoding": "gzip"}])
def test_who_wants_the_plain_bytes_of_a_large_window_is_told_why_not(
    wire: Wire, wide: tuple[str, bytes], headers: dict[str, str]
) -> None:
    answer = wire.ask("GET", wide[0], headers)

    assert (answer.status, wire.ask("HEAD", wide[0], headers).status) == (406, 406)
    assert "window of more than 8 MiB" in answer.detail
    assert "accept-encoding: zstd" in answer.detail


@pytest.mark.parametrize("headers", [{"accept-encoding": "identity, zstd;q=0.1"}, STOCK])
def test_who_takes_zstd_gets_a_large_window_as_it_was_sent(
    wire: Wire, wide: tuple[str, bytes], headers: dict[str, str]
) -> None:
    answer = wire.ask("GET", wide[0], headers)

    assert (answer.headers["content-encoding"], answer.body) == ("zstd", wide[1])
    assert wire.ask("HEAD", wide[0], headers).headers["content-length"] == str(len(wide[1]))


# What is compressed


def stored_as(wire: Wire, path: str) -> str:
    """The coding that an object is kept in."""
    headers = wire.ask("HEAD", path, {"accept-encoding": "zstd"}).headers
    return headers.get("content-encoding", IDENTITY)


@pytest.mark.parametrize(
    ("body", "content_type", "form"),
    [
        (TEXT, "application/octet-stream", ENCODED),
        (TEXT, "application/x-whatever", ENCODED),
        (LARGE, "text/plain", ENCODED),
        (NOISE, "text/plain", IDENTITY),
        (noise(1 << 20), "text/plain", IDENTITY),
        (TEXT, "image/png", IDENTITY),
        (TEXT, "Application/GZip", IDENTITY),
        (LARGE, "video/mp4", IDENTITY),
        (TEXT, "image/svg+xml; charset=utf-8", ENCODED),
        (TEXT[:1023], "text/plain", IDENTITY),
        (TEXT[:1024], "text/plain", ENCODED),
        (b"", "text/plain", IDENTITY),
        (noise(100_000) + LARGE, "text/plain", IDENTITY),
        (LARGE + noise(100_000), "text/plain", ENCODED),
    ],
)
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_body_is_compressed_where_that_pays(
    wire: Wire, packed: str, body: bytes, content_type: str, form: str, framing: str
) -> None:
    headers = {"content-type": content_type}
    if framing == "sized":
        wire.ask("PUT", packed + "k", headers, body)
    else:
        headers["transfer-encoding"] = "chunked"
        wire.ask("PUT", packed + "k", headers, chunked(*chunks(body, 30_000)))

    assert stored_as(wire, packed + "k") == form
    assert wire.ask("GET", packed + "k").body == body
    encoded = wire.ask("GET", packed + "k", {"accept-encoding": "zstd"}).body
    assert (decoded(encoded) if form == ENCODED else encoded) == body


def test_a_usecase_without_compression_keeps_what_comes(wire: Wire, plain: str) -> None:
    wire.ask("PUT", plain + "k", body=TEXT)

    assert stored_as(wire, plain + "k") == IDENTITY


def test_the_usecase_sets_level_and_least_size(wire: Wire, packed: str, scope: str) -> None:
    eager = f"/v1/objects/packed-all/{scope}/"
    wire.ask("PUT", eager + "small", body=b"a" * 100)
    for place in (packed, eager):
        wire.ask("PUT", place + "k", body=LARGE[: 1 << 20])
    sizes = [int(wire.ask("HEAD", p + "k").headers["x-sn-size"]) for p in (packed, eager)]

    assert stored_as(wire, eager + "small") == ENCODED
    assert sizes[1] < 0.95 * sizes[0]
    assert wire.ask("GET", eager + "k").body == LARGE[: 1 << 20]


def test_any_body_comes_back_in_either_form(gateway: Gateway) -> None:
    path = "/v1/objects/packed-all/kept=any/k"

    @given(st.binary(max_size=3000) | st.binary(min_size=1, max_size=20).map(lambda b: b * 30_000))
    def any_body(body: bytes) -> None:
        with Wire(gateway.url) as wire:
            wire.ask("PUT", path, body=body)
            assert wire.ask("GET", path).body == body
            encoded = wire.ask("GET", path, {"accept-encoding": "zstd"})
            whole = encoded.headers.get("content-encoding") is None
            assert (encoded.body if whole else decoded(encoded.body)) == body

    any_body()


# What clients compressed


@pytest.mark.parametrize(
    "body",
    [
        ZSTD,
        streamed(TEXT),
        zstandard.compress(TEXT[:100]) + streamed(TEXT[100:]),
        skippable(b"note") + ZSTD,
        zstandard.compress(b""),
        zstandard.compress(LARGE),
        streamed(LARGE),
    ],
    ids=["sized", "streamed", "frames", "skippable", "empty", "large", "large streamed"],
)
@pytest.mark.parametrize("place", ["plain", "packed"])
def test_zstd_from_a_client_is_kept_byte_for_byte(
    wire: Wire, scope: str, place: str, body: bytes
) -> None:
    path = f"/v1/objects/{place}/{scope}/k"
    assert wire.ask("PUT", path, BY_CLIENT, body).status == 200

    encoded = wire.ask("GET", path, {"accept-encoding": "zstd"})
    plain = wire.ask("GET", path)
    assert (encoded.body, encoded.headers["content-encoding"]) == (body, "zstd")
    assert plain.body == decoded(body)
    assert plain.headers["content-length"] == str(len(plain.body))
    assert plain.headers["x-pannier-original-size"] == str(len(plain.body))


@pytest.mark.parametrize(
    "body",
    [
        TEXT,
        b"short",
        ZSTD[:-1],
        ZSTD + b"more",
        CHECKED[:-1] + bytes([CHECKED[-1] ^ 1]),
        zstandard.compress(NOISE * 10)[:-1],
        LARGE,
    ],
    ids=["text", "short", "cut", "tail", "damaged", "large cut", "large text"],
)
def test_what_only_claims_to_be_zstd_is_refused(wire: Wire, plain: str, body: bytes) -> None:
    answer = wire.ask("PUT", plain + "k", BY_CLIENT, body)

    assert answer.status == 400
    assert "content-encoding is zstd, but" in answer.detail
    assert wire.ask("GET", plain + "k").status == 404


def test_the_name_of_the_encoding_may_be_in_any_case(wire: Wire, plain: str) -> None:
    assert wire.ask("PUT", plain + "k", {"content-encoding": "ZSTD"}, ZSTD).status == 200
    assert wire.ask("GET", plain + "k").body == TEXT


def test_encoded_twice_is_refused(wire: Wire, plain: str) -> None:
    twice = BY_CLIENT | {"Content-Encoding": "zstd"}

    answer = wire.ask("PUT", plain + "k", twice, zstandard.compress(ZSTD))

    assert answer.status == 400
    assert "'zstd, zstd'" in answer.detail


def test_what_is_accepted_may_stand_on_several_lines(wire: Wire, kept: str) -> None:
    several = {"accept-encoding": "gzip", "Accept-Encoding": "zstd"}

    assert wire.ask("GET", kept + "by-client", several).body == ZSTD


def test_zstd_that_was_not_declared_is_just_bytes(wire: Wire, packed: str) -> None:
    wire.ask("PUT", packed + "k", body=ZSTD)

    assert stored_as(wire, packed + "k") == IDENTITY
    assert wire.ask("GET", packed + "k").body == ZSTD


@pytest.mark.parametrize("size", [128 << 10, 1 << 30], ids=["just above", "a bomb"])
def test_the_limit_of_a_usecase_counts_what_a_body_decodes_to(
    wire: Wire, scope: str, size: int
) -> None:
    path = f"/v1/objects/limited/{scope}/k"
    body = bomb(size)
    assert len(body) < 100_000

    answer = wire.ask("PUT", path, BY_CLIENT, body)

    assert answer.status == 413
    assert "100000" in answer.detail
    assert wire.ask("GET", path).status == 404
