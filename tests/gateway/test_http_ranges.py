"""Ranges over HTTP: which bytes, under which headers, and at what cost."""

from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from support.gateway import Gateway
from support.wire import Wire, exchange
from support.zstd_bodies import noise, text

BODY = b"twenty-two bytes long."
FRAME = 384 << 10
LARGE = (text(1 << 20) * 12)[:-12_345]  # repeats itself only across frames
SIZE = len(LARGE)


@pytest.fixture
def short(wire: Wire, plain: str) -> str:
    """An object of 22 bytes."""
    wire.ask("PUT", plain + "k", body=BODY)
    return plain + "k"


@pytest.fixture(scope="module", params=["plain", "packed", "sent as zstd"])
def large(gateway: Gateway, request: pytest.FixtureRequest) -> str:
    """LARGE, kept in each of the ways there are."""
    packed = request.param == "sent as zstd"
    path = f"/v1/objects/{'plain' if packed else request.param}/kept={request.param[:4]}/large"
    body = zstandard.compress(LARGE) if packed else LARGE
    put = exchange(gateway.url, "PUT", path, {"content-encoding": "zstd"} if packed else {}, body)
    assert put.status == 200
    return path


@pytest.mark.parametrize(
    ("asked", "shown", "body"),
    [
        ("bytes=0-4", "bytes 0-4/22", BODY[:5]),
        ("bytes=-9", "bytes 13-21/22", BODY[-9:]),
        ("bytes=7-", "bytes 7-21/22", BODY[7:]),
        ("bytes=21-21", "bytes 21-21/22", b"."),
        ("bytes=0-0", "bytes 0-0/22", b"t"),
        ("bytes=0-", "bytes 0-21/22", BODY),
        ("bytes=20-100", "bytes 20-21/22", BODY[20:]),
        ("bytes=-100", "bytes 0-21/22", BODY),
        ("bytes=5-" + "9" * 60, "bytes 5-21/22", BODY[5:]),
        ("BYTES=0-4", "bytes 0-4/22", BODY[:5]),
        ("Bytes=007-009", "bytes 7-9/22", BODY[7:10]),
    ],
)
def test_a_range_is_answered_with_its_bytes(
    wire: Wire, short: str, asked: str, shown: str, body: bytes
) -> None:
    answer = wire.ask("GET", short, {"range": asked})

    assert (answer.status, answer.body) == (206, body)
    assert answer.headers["content-range"] == shown
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-sn-size"] == "22"
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=0-4,10-14", "bytes=0-4,", ",", "bytes=0-0, -1"])
def test_several_ranges_are_answered_with_everything(wire: Wire, short: str, asked: str) -> None:
    answer = wire.ask("GET", short, {"range": asked})

    assert (answer.status, answer.body) == (200, BODY)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize(
    "asked",
    [
        *("items=0-4", "bytes=abc-def", "bytes=-0", "bytes=5-4", "bytes=-", "bytes=", "bytes"),
        *("bytes= 0-4", "bytes=0 -4", "bytes =0-4", "bytes=0-4 x", "bytes=+1-2", "bytes=0x1-2"),
        *("bytes=1", "bytes=--1", "bytes=1-2-3", "0-4", "", "bytes=" + "1" * 500 + "-"),
    ],
)
def test_what_is_no_range_is_refused_in_words(wire: Wire, short: str, asked: str) -> None:
    answer = wire.ask("GET", short, {"range": asked})

    assert answer.status == 400
    assert "bytes=a-b" in answer.detail


@pytest.mark.parametrize("asked", ["bytes=100-200", "bytes=22-", "bytes=" + "9" * 60 + "-"])
def test_a_range_behind_the_end_is_416_without_a_body(wire: Wire, short: str, asked: str) -> None:
    answer = wire.ask("GET", short, {"range": asked})

    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == "bytes */22"
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_no_range_lies_within_an_empty_object(wire: Wire, plain: str, asked: str) -> None:
    wire.ask("PUT", plain + "k", body=b"")

    answer = wire.ask("GET", plain + "k", {"range": asked})
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


def test_a_range_of_nothing_is_404(wire: Wire, plain: str) -> None:
    answer = wire.ask("GET", plain + "absent", {"range": "bytes=0-4"})

    assert (answer.status, answer.body) == (404, b"")


def test_head_does_not_look_at_ranges(wire: Wire, short: str) -> None:
    for asked in ("bytes=0-4", "bytes=100-", "nonsense"):
        answer = wire.ask("HEAD", short, {"range": asked})
        assert (answer.status, answer.headers["content-length"]) == (200, "22")
        assert answer.headers["accept-ranges"] == "bytes"


def slices() -> Iterator[tuple[int, int]]:
    """First and last byte of ranges around the places where frames meet."""
    for edge in (FRAME, 2 * FRAME, 3 * FRAME - 1, SIZE // FRAME * FRAME, SIZE - 1):
        yield edge - 1, edge
        yield edge - FRAME // 2, min(edge + FRAME // 2, SIZE - 1)
    yield 0, SIZE - 1
    yield 0, FRAME - 1
    yield FRAME, 2 * FRAME - 1


@pytest.mark.parametrize(("first", "last"), list(slices()))
def test_a_range_counts_decoded_bytes_however_the_object_is_kept(
    wire: Wire, large: str, first: int, last: int
) -> None:
    answer = wire.ask("GET", large, {"range": f"bytes={first}-{last}"})

    assert answer.status == 206
    assert answer.body == LARGE[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert "content-encoding" not in answer.headers


def test_any_range_is_the_slice(gateway: Gateway) -> None:
    path = "/v1/objects/packed/kept=any/large"
    exchange(gateway.url, "PUT", path, body=LARGE)

    @given(st.integers(0, SIZE - 1), st.integers(0, 2 * FRAME))
    def any_range(first: int, length: int) -> None:
        answer = exchange(gateway.url, "GET", path, {"range": f"bytes={first}-{first + length}"})
        assert answer.status == 206
        assert answer.body == LARGE[first : first + length + 1]

    any_range()


def test_a_range_of_the_stored_form_counts_stored_bytes(wire: Wire, packed: str) -> None:
    wire.ask("PUT", packed + "k", body=LARGE)
    stored = wire.ask("GET", packed + "k", {"accept-encoding": "zstd"})
    asked = {"accept-encoding": "zstd", "range": "bytes=1000-1999"}

    part = wire.ask("GET", packed + "k", asked)

    assert (part.status, part.body) == (206, stored.body[1000:2000])
    assert part.headers["content-encoding"] == "zstd"
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(stored.body)}"
    assert part.headers["etag"] == stored.headers["etag"]


@pytest.mark.parametrize("at", [0, SIZE // 2, SIZE - 10])
def test_a_range_costs_about_the_range_and_not_the_object(
    gateway: Gateway, wire: Wire, packed: str, at: int
) -> None:
    wire.ask("PUT", packed + "k", body=LARGE)
    stored = int(wire.ask("HEAD", packed + "k").headers["x-sn-size"])

    before = gateway.bytes_read()
    part = wire.ask("GET", packed + "k", {"range": f"bytes={at}-{at + 9}"})
    cost_of_part = gateway.bytes_read() - before
    wire.ask("GET", packed + "k")
    cost_of_all = gateway.bytes_read() - before - cost_of_part

    assert part.body == LARGE[at : at + 10]
    assert cost_of_all > stored > 3 << 20
    assert cost_of_part < stored / 4


def test_a_range_of_a_plain_object_costs_about_the_range(
    gateway: Gateway, wire: Wire, plain: str
) -> None:
    body = noise(8 << 20)
    wire.ask("PUT", plain + "k", body=body)

    before = gateway.bytes_read()
    part = wire.ask("GET", plain + "k", {"range": "bytes=-10"})

    assert part.body == body[-10:]
    assert gateway.bytes_read() - before < 2 << 20
