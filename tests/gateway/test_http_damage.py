"""Damage on disk and breaks on the way out: a reader never gets a wrong answer that looks right."""

import asyncio
from pathlib import Path

import pytest

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.errors import (
    ObjectReplaced,
    Overloaded,
    PannierError,
    StoreBusy,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.stores.memory import MemoryStore
from support.doorstep import serving
from support.gateway import Gateway
from support.hostile import BreakingStore, ChoppyStore, FickleStore, ShortStore, SlowStore, Wrapped
from support.wire import CutOff, Wire, exchange
from support.zstd_bodies import noise, text

NOISE = noise(8 << 20)
TEXT = text(1 << 20) * 12


def kept(gateway: Gateway, path: str, body: bytes) -> Path:
    """Store `body`; the file that holds it."""
    folder = gateway.log.parent / "data" / "default" / "main" / "bodies"
    before = set(folder.glob("*/*"))
    assert exchange(gateway.url, "PUT", path, body=body).status == 200
    (file,) = set(folder.glob("*/*")) - before
    return file


def rot(path: Path, share: float) -> int:
    """Flip one bit of a file, at that share of it; where."""
    at = int(path.stat().st_size * share)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    return at


def test_rot_that_is_noticed_before_the_head_is_told_in_words(gateway: Gateway, plain: str) -> None:
    rot(kept(gateway, plain + "k", NOISE), 0.0)

    answer = exchange(gateway.url, "GET", plain + "k")

    assert answer.status == 500
    assert answer.detail.endswith("are damaged")


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_reader_of_rotten_bytes_gets_less_and_never_wrong_ones(
    gateway: Gateway, plain: str, share: float
) -> None:
    damaged = rot(kept(gateway, plain + "k", NOISE), share)

    with pytest.raises(CutOff) as broken:
        exchange(gateway.url, "GET", plain + "k")

    assert len(broken.value.body) <= damaged
    assert NOISE.startswith(broken.value.body)
    assert "answer cut off" in gateway.log.read_text()
    assert exchange(gateway.url, "GET", "/health").status == 200


def test_an_answer_that_is_cut_off_does_not_end_like_one_that_is_complete(
    gateway: Gateway, wire: Wire, plain: str
) -> None:
    rot(kept(gateway, plain + "k", NOISE), 0.5)

    wire.send(f"GET {plain}k HTTP/1.0\r\n\r\n".encode())
    with pytest.raises(ConnectionResetError):
        b"".join(iter(lambda: wire.sock.recv(65536), b""))


def test_what_did_not_rot_can_still_be_read(gateway: Gateway, plain: str) -> None:
    damaged = rot(kept(gateway, plain + "k", NOISE), 0.5)

    start = exchange(gateway.url, "GET", plain + "k", {"range": "bytes=0-99"})
    end = exchange(gateway.url, "GET", plain + "k", {"range": "bytes=-100"})
    rotten = exchange(gateway.url, "GET", plain + "k", {"range": f"bytes={damaged}-{damaged}"})

    assert rotten.status == 500
    assert (start.body, end.body) == (NOISE[:100], NOISE[-100:])


@pytest.mark.parametrize("accept", ["identity", "zstd"])
def test_rot_in_a_compressed_object_is_noticed_in_either_form(
    gateway: Gateway, packed: str, accept: str
) -> None:
    rot(kept(gateway, packed + "k", TEXT), 0.6)

    with pytest.raises(CutOff) as broken:
        exchange(gateway.url, "GET", packed + "k", {"accept-encoding": accept})

    assert len(broken.value.body) < len(TEXT)
    assert accept == "zstd" or TEXT.startswith(broken.value.body)


def test_a_body_file_that_is_gone_is_an_error_and_not_an_absent_object(
    gateway: Gateway, plain: str
) -> None:
    kept(gateway, plain + "k", NOISE).unlink()

    answer = exchange(gateway.url, "GET", plain + "k")

    assert answer.status == 500
    assert answer.detail.startswith("service error: ")


def read_over_http(url: str, body: bytes) -> bytes:
    """Store `body` and read it: what came before the answer was cut off."""
    path = "/v1/objects/attachments/_/k"
    assert exchange(url, "PUT", path, body=body).status == 200
    with pytest.raises(CutOff) as broken:
        exchange(url, "GET", path)
    return broken.value.body


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), OSError("a bug")], ids=repr)
@pytest.mark.parametrize("at", [0, 1, 300_000, len(NOISE) - 1])
async def test_a_store_that_breaks_while_it_is_read_cuts_the_answer_off(
    at: int, error: Exception
) -> None:
    async with serving(BreakingStore(MemoryStore(), at, error)) as url:
        got = await asyncio.to_thread(read_over_http, url, NOISE)

    assert len(got) <= at
    assert NOISE.startswith(got)


@pytest.mark.parametrize("at", [0, 1, 300_000, len(NOISE) - 1])
async def test_a_store_that_gives_less_than_it_said_cuts_the_answer_off(at: int) -> None:
    async with serving(ShortStore(MemoryStore(), at)) as url:
        got = await asyncio.to_thread(read_over_http, url, NOISE)

    assert got == NOISE[: len(got)]


async def test_a_store_that_changes_its_mind_cannot_make_up_decoded_bytes() -> None:
    async with serving(FickleStore(MemoryStore(), 1_000_000)) as url:
        got = await asyncio.to_thread(read_over_http, url, TEXT)

    assert TEXT.startswith(got)


@pytest.mark.parametrize("store", [ChoppyStore, SlowStore])
@pytest.mark.parametrize("body", [TEXT, NOISE, b"small"], ids=["text", "noise", "small"])
async def test_pieces_of_any_size_at_any_pace_make_the_same_answers(
    store: type[Wrapped], body: bytes
) -> None:
    async with serving(store(MemoryStore())) as url:

        def round_trip() -> None:
            path = "/v1/objects/attachments/_/k"
            exchange(url, "PUT", path, body=body)
            assert exchange(url, "GET", path).body == body
            part = exchange(url, "GET", path, {"range": "bytes=3-400000"})
            assert part.body == body[3:400_001]

        await asyncio.to_thread(round_trip)


async def test_what_does_not_even_begin_to_decode_is_an_error_and_no_answer() -> None:
    path = "/v1/objects/attachments/_/k"
    async with serving(FickleStore(MemoryStore(), 100)) as url:
        await asyncio.to_thread(exchange, url, "PUT", path, body=TEXT)

        answer = await asyncio.to_thread(exchange, url, "GET", path)

    assert (answer.status, answer.detail) == (500, "service error: the stored bytes do not decode")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (StoreBusy("slow down", 2.1), "3"),
        (StoreBusy("slow down"), "1"),
        (Overloaded("too much"), "1"),
        (ObjectReplaced("meanwhile"), "1"),
        (StoreUnavailable("gone"), None),
        (StoreTimedOut("late"), None),
    ],
    ids=repr,
)
async def test_a_refusal_says_when_to_ask_again_where_that_is_known(
    error: PannierError, seconds: str | None
) -> None:
    async with serving(RefusingStore(error)) as url:
        answer = await asyncio.to_thread(exchange, url, "DELETE", "/v1/objects/attachments/_/k")

    assert (answer.status, answer.headers.get("retry-after")) == (error.status, seconds)


class RefusingStore(Wrapped):
    """Deletes nothing, and says why."""

    def __init__(self, error: PannierError) -> None:
        super().__init__(MemoryStore())
        self._error = error

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        raise self._error
