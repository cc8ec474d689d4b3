import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_gateway.codec import (
    DecodedTooLarge,
    Measuring,
    MemoryBudget,
    NotZstd,
    compress_small,
    measure_small,
)
from pannier_gateway.codec.workers import Workers
from support import zstd_bodies
from support.zstd_bodies import BLOCK, LAST, arriving, block, chunks, frame, gathered, skippable

ANY = 1 << 40
TEXT = zstd_bodies.text(1_000_000)
STREAMS = {
    "one frame": zstandard.ZstdCompressor().compress(TEXT),
    "size unsaid": zstd_bodies.streamed(TEXT),
    "high level": zstd_bodies.streamed(TEXT, level=19),
    "many frames": compress_small(b"tiny", 3) * 1000 + compress_small(TEXT, 3),
    "skippable": skippable(b"a") + compress_small(TEXT, 1) + skippable(bytes(1000), 5),
    "nothing in it": compress_small(b"", 3),
    "zeros": zstd_bodies.bomb(500 * BLOCK),
}


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def measuring(
    body: list[bytes], executor: ThreadPoolExecutor, ceiling: int = ANY, room: int = 64 << 20
) -> Measuring:
    return Measuring(arriving(body), ceiling, Workers(executor, MemoryBudget(room)))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(STREAMS)), st.integers(500, 300_000))
async def test_a_body_passes_unchanged_and_is_measured(
    executor: ThreadPoolExecutor, name: str, size: int
) -> None:
    body = chunks(STREAMS[name], size)
    measured = measuring(body, executor)

    assert [chunk async for chunk in measured] == body

    assert measured.original_size == len(zstd_bodies.decoded(STREAMS[name]))


@pytest.mark.parametrize("name", STREAMS)
async def test_a_small_body_is_measured_at_once(executor: ThreadPoolExecutor, name: str) -> None:
    size, decodable = await measure_small(STREAMS[name], ANY, Workers(executor, MemoryBudget()))

    assert (size, decodable) == (len(zstd_bodies.decoded(STREAMS[name])), True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain text, in truth",
        b"{}",
        compress_small(TEXT, 3)[:-1],
        compress_small(TEXT[:100], 3)[:-1],
        compress_small(TEXT, 3) + b"trailing",
        bytes(40),
        frame(block(50 << 3, bytes(50)), block(LAST | 2 << 1 | 60 << 3, b"\xff" * 60)),
        zstd_bodies.streamed(TEXT).replace(b"\x00", b"\x01"),
        zstd_bodies.MAGIC + bytes([0x20, 0]) + block(LAST | 1 << 3, b"x"),  # it says: of nothing
    ],
)
async def test_what_is_no_zstd_is_refused(executor: ThreadPoolExecutor, body: bytes) -> None:
    with pytest.raises(NotZstd):
        await gathered(measuring(chunks(body, 100_000), executor))
    with pytest.raises(NotZstd):
        await measure_small(body, ANY, Workers(executor, MemoryBudget()))


@pytest.mark.parametrize("body", [zstd_bodies.bomb(100 * BLOCK), compress_small(bytes(10**6), 3)])
async def test_counting_stops_at_the_ceiling(executor: ThreadPoolExecutor, body: bytes) -> None:
    with pytest.raises(DecodedTooLarge, match="more than 1000 bytes"):
        await gathered(measuring([body], executor, ceiling=1000))
    with pytest.raises(DecodedTooLarge):
        await measure_small(body, 1000, Workers(executor, MemoryBudget()))


@pytest.mark.parametrize("size", [BLOCK, 100 * BLOCK])
@pytest.mark.parametrize("window_log", [24, 28])
async def test_a_window_beyond_8_mib_leaves_the_size_unknown(
    executor: ThreadPoolExecutor, size: int, window_log: int
) -> None:
    body = zstd_bodies.bomb(size, window_log=window_log)
    measured = measuring(chunks(body, 50), executor, ceiling=1000)

    assert await gathered(measured) == body

    assert (measured.original_size, measured.decodable) == (None, False)
    small = await measure_small(body, ANY, Workers(executor, MemoryBudget()))
    assert small == (None, False)


async def test_a_window_beyond_8_mib_is_noticed_in_the_last_frame_and_without_room(
    executor: ThreadPoolExecutor,
) -> None:
    body = STREAMS["size unsaid"] + zstd_bodies.bomb(BLOCK, window_log=24)
    measured = measuring(chunks(body, 9999), executor, room=1 << 20)

    await gathered(measured)

    assert not measured.decodable


async def test_even_then_the_structure_is_checked(executor: ThreadPoolExecutor) -> None:
    with pytest.raises(NotZstd):
        await gathered(measuring([zstd_bodies.bomb(9 * BLOCK, window_log=24)[:-1]], executor))


async def test_an_upload_never_waits_for_room(executor: ThreadPoolExecutor) -> None:
    body = STREAMS["size unsaid"]
    measured = measuring(chunks(body, 9999), executor, room=1 << 20)

    assert await gathered(measured) == body

    assert (measured.original_size, measured.decodable) == (None, True)


async def test_uploads_at_once_are_measured_apart(executor: ThreadPoolExecutor) -> None:
    workers = Workers(executor, MemoryBudget())
    several = [Measuring(arriving(chunks(body, 9999)), ANY, workers) for body in STREAMS.values()]

    await asyncio.gather(*map(gathered, several))

    assert [measured.original_size for measured in several] == [
        len(zstd_bodies.decoded(body)) for body in STREAMS.values()
    ]
    assert workers.budget.used == 0
