import asyncio
import shutil
import subprocess
import threading
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_gateway.codec import (
    FOOTER_SIZE,
    FRAME_SIZE,
    Compressing,
    DecodedTooLarge,
    DecodeError,
    Decoding,
    MemoryBudget,
    SeekTable,
    compress_small,
    decode_frame,
    table_span,
    trimmed,
)
from pannier_gateway.codec.workers import Workers
from pannier_gateway.span import Span
from support import zstd_bodies
from support.zstd_bodies import BLOCK, arriving, chunks, gathered

P = ParamSpec("P")
T = TypeVar("T")
Zstd = Callable[..., bytes]
BODY = zstd_bodies.text(3 * FRAME_SIZE + 12_345)
SIZES = st.integers(0, len(BODY))
FEW = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture(scope="module")
def zstd() -> Zstd:
    """The zstd command, as a function of its input."""
    command = shutil.which("zstd")
    if command is None:
        pytest.skip("there is no zstd command here")
    return lambda data, *options: (
        subprocess.run(
            [command, "--quiet", "--stdout", *options], input=data, capture_output=True, check=True
        ).stdout
    )


async def compressed(body: list[bytes], executor: ThreadPoolExecutor, level: int = 3) -> bytes:
    return await gathered(Compressing(arriving(body), level, executor))


def decoding(
    stored: list[bytes], size: int, executor: ThreadPoolExecutor, *, exact: bool = True
) -> Decoding:
    return Decoding(arriving(stored), size, Workers(executor, MemoryBudget()), exact=exact)


@FEW
@given(SIZES, st.integers(1000, 2 << 20), st.integers(100, 1 << 20))
async def test_a_body_comes_back_however_it_is_cut(
    executor: ThreadPoolExecutor, size: int, arrived: int, read: int
) -> None:
    body = BODY[:size]

    stored = await compressed(chunks(body, arrived), executor)

    assert await gathered(decoding(chunks(stored, read), size, executor)) == body


@FEW
@given(st.lists(st.binary(max_size=50), max_size=50))
async def test_a_small_body_becomes_one_frame_without_a_table(
    executor: ThreadPoolExecutor, body: list[bytes]
) -> None:
    compressing = Compressing(arriving(body), 3, executor)

    stored = await gathered(compressing)

    assert stored == compress_small(b"".join(body), 3)
    assert compressing.original_size == len(b"".join(body))


async def test_an_upload_that_stalls_holds_one_frame(executor: ThreadPoolExecutor) -> None:
    async def stalling() -> AsyncGenerator[bytes, None]:
        yield bytes(FRAME_SIZE - 1)
        await asyncio.Event().wait()

    held = await held_by([Compressing(stalling(), 3, executor) for _ in range(20)], stalled=True)

    assert held < 20 * (FRAME_SIZE + 16_000)


async def test_a_reader_that_stalls_holds_little_beside_what_it_was_given(
    executor: ThreadPoolExecutor,
) -> None:
    stored = await compressed([BODY], executor)
    readers = [decoding([stored], len(BODY), executor) for _ in range(10)]

    held = await held_by(readers)

    assert held < 10 * (FRAME_SIZE + 80_000)  # the frame decoded, and at most a step to go on with


async def held_by(streams: Sequence[AsyncIterator[bytes]], *, stalled: bool = False) -> int:
    """Bytes that `streams` and their first pieces hold, where they are not stalled before these."""
    tracemalloc.start()
    tasks = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.wait(tasks, timeout=0 if stalled else None)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return held


@pytest.mark.parametrize("size", [0, 1, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, 2 * FRAME_SIZE])
async def test_frames_end_where_they_should(executor: ThreadPoolExecutor, size: int) -> None:
    stored = await compressed(chunks(BODY[:size], 100_000), executor)

    assert zstandard.frame_content_size(stored) == min(size, FRAME_SIZE)
    assert (table_span(len(stored), stored) is not None) is (size > FRAME_SIZE)
    assert zstd_bodies.decoded(stored) == BODY[:size]


async def test_the_zstd_command_reads_what_is_stored(
    executor: ThreadPoolExecutor, zstd: Zstd
) -> None:
    stored = await compressed([BODY], executor)

    assert zstd(stored, "--decompress") == BODY


@pytest.mark.parametrize(
    "options", [["-1"], ["-19"], ["--no-check"], ["--fast=5"], ["-T2", "-B1M"]]
)
async def test_what_the_zstd_command_writes_is_read(
    executor: ThreadPoolExecutor, zstd: Zstd, options: list[str]
) -> None:
    stored = zstd(BODY, *options) + zstd(b"", *options) + zstd(b"more", *options)

    assert (
        await gathered(decoding(chunks(stored, 70_000), len(BODY) + 4, executor)) == BODY + b"more"
    )


@FEW
@given(st.data())
async def test_a_range_is_read_without_the_rest(
    executor: ThreadPoolExecutor, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(BODY) - 1))
    wanted = Span(start, data.draw(st.integers(start + 1, len(BODY))))
    stored = await compressed([BODY], executor)
    span = table_span(len(stored), stored[-FOOTER_SIZE:])
    table = span and SeekTable.parse(len(stored), stored[slice(*span)])
    assert table

    found = table.locate(wanted)
    frames = decoding([stored[slice(*found.stored)]], found.decoded, executor)

    part = await gathered(trimmed(frames, found.skip, found.take))
    assert part == BODY[slice(*wanted)]
    assert found.decoded < wanted.size + 2 * FRAME_SIZE


async def test_stored_bytes_may_come_as_views(executor: ThreadPoolExecutor) -> None:
    async def views() -> AsyncGenerator[memoryview, None]:
        for chunk in chunks(zstd_bodies.streamed(BODY), 50_000):
            yield memoryview(chunk)

    pieces = Decoding(views(), len(BODY), Workers(executor, MemoryBudget()), exact=True)

    assert await gathered(pieces) == BODY


async def test_a_body_without_a_table_is_read_from_its_start(executor: ThreadPoolExecutor) -> None:
    stored = zstd_bodies.streamed(BODY)

    part = trimmed(decoding(chunks(stored, 9999), len(BODY), executor), 700_001, 5)

    assert await gathered(part) == BODY[700_001:700_006]


async def test_a_part_that_is_not_there_is_an_error(executor: ThreadPoolExecutor) -> None:
    stored = compress_small(b"0123456789", 3)

    with pytest.raises(DecodeError, match="2 decoded bytes early"):
        await gathered(trimmed(decoding([stored], 10, executor), 8, 4))


@pytest.mark.parametrize(
    "stored",
    [
        compress_small(b"one frame", 3) + compress_small(b"and another", 3),
        zstd_bodies.streamed(b"nothing is said of the size" * 20),
        zstd_bodies.skippable(b"a note") + zstd_bodies.bomb(10 * BLOCK),
    ],
    ids=["two frames", "streamed", "blocks"],
)
async def test_a_stream_cut_anywhere_never_ends_well(
    executor: ThreadPoolExecutor, stored: bytes
) -> None:
    size = len(zstd_bodies.decoded(stored))

    for stop in range(len(stored)):
        assert len(decode_frame(stored[:stop], size) or b"") < size
        with pytest.raises(DecodeError):
            await gathered(decoding(chunks(stored[:stop], 5), size, executor))


@FEW
@given(st.data())
async def test_damage_never_gives_other_bytes(
    executor: ThreadPoolExecutor, data: st.DataObject
) -> None:
    body = zstd_bodies.text(2000)
    stored = bytearray(compress_small(body, 3))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))

    assert decode_frame(bytes(stored), len(body)) in (None, body)
    with suppress(DecodeError):
        assert await gathered(decoding([bytes(stored)], len(body), executor)) == body


async def test_more_than_the_limit_is_never_handed_out(executor: ThreadPoolExecutor) -> None:
    handed = bytearray()

    async def read() -> None:
        async for piece in decoding([zstd_bodies.bomb(100 * BLOCK)], 50 * BLOCK, executor):
            handed.extend(piece)

    with pytest.raises(DecodedTooLarge, match=f"more than {50 * BLOCK} bytes"):
        await read()
    assert 40 * BLOCK < len(handed) <= 50 * BLOCK


async def test_fewer_bytes_than_expected_are_an_error_only_if_the_size_is_known(
    executor: ThreadPoolExecutor,
) -> None:
    stored = [compress_small(b"12345", 3)]

    assert await gathered(decoding(stored, 6, executor, exact=False)) == b"12345"
    with pytest.raises(DecodeError, match="5 bytes in place of 6"):
        await gathered(decoding(stored, 6, executor))


async def test_a_bomb_is_decoded_in_small_pieces_and_flat_memory(
    executor: ThreadPoolExecutor,
) -> None:
    size = 1 << 30
    stored = zstd_bodies.bomb(size)
    assert len(stored) < 100_000
    seen, peak, before = 0, 0, resident()

    async for piece in decoding([stored], size, executor):
        assert len(piece) <= 576 << 10
        seen, peak = seen + len(piece), max(peak, resident())

    assert seen == size
    assert peak - before < 8 << 20


def resident() -> int:
    """The memory of this process, in bytes; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


@pytest.mark.parametrize("size", [BLOCK, 9 * BLOCK])
async def test_a_window_beyond_8_mib_is_not_decoded(
    executor: ThreadPoolExecutor, size: int
) -> None:
    with pytest.raises(DecodeError, match="accept-encoding: zstd"):
        await gathered(decoding([zstd_bodies.bomb(size, window_log=24)], size, executor))


async def test_many_bodies_at_once_do_not_mix(executor: ThreadPoolExecutor) -> None:
    bodies = [zstd_bodies.text(500_000, seed) for seed in range(12)]

    async def there_and_back(body: bytes) -> bytes:
        stored = await compressed(chunks(body, 50_000), executor)
        streamed = zstd_bodies.streamed(body)
        both = chunks(stored, 10_000) + chunks(streamed, 10_000)
        return await gathered(decoding(both, 2 * len(body), executor))

    results = await asyncio.gather(*map(there_and_back, bodies))

    assert results == [body * 2 for body in bodies]


async def test_decoders_wait_for_room(executor: ThreadPoolExecutor) -> None:
    stored = zstd_bodies.streamed(BODY)
    budget = MemoryBudget(5 << 20)  # one window of level 3, and its buffers
    workers = Workers(executor, budget)

    async def read() -> None:
        pieces = Decoding(arriving(chunks(stored, 50_000)), len(BODY), workers, exact=True)
        async for _ in pieces:
            assert budget.used < budget.total

    await asyncio.gather(*(read() for _ in range(8)))
    assert budget.used == 0


async def test_a_reader_who_leaves_gives_back_the_room(executor: ThreadPoolExecutor) -> None:
    budget = MemoryBudget()
    stored = arriving([zstd_bodies.bomb(100 * BLOCK)])

    async with aclosing(Decoding(stored, 100 * BLOCK, Workers(executor, budget))) as pieces:
        await anext(pieces)
        assert budget.used > 0

    assert budget.used == 0


async def test_a_part_that_is_complete_closes_what_it_reads(executor: ThreadPoolExecutor) -> None:
    budget = MemoryBudget()
    stored = arriving([zstd_bodies.bomb(100 * BLOCK), b"more"])
    bomb = Decoding(stored, 100 * BLOCK, Workers(executor, budget))

    assert await gathered(trimmed(bomb, 3, 4)) == bytes(4)

    assert budget.used == 0
    assert await anext(stored, None) is None


class Recorded(ThreadPoolExecutor):
    """One thread, busy until `gate` opens, and the steps that wait for it."""

    def __init__(self) -> None:
        super().__init__(1)
        self.gate = threading.Event()
        super().submit(self.gate.wait)
        self.waits = asyncio.Event()
        self.steps: list[Future[object]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        step = super().submit(fn, *args, **kwargs)
        self.steps.append(cast("Future[object]", step))
        self.waits.set()
        return step


@pytest.mark.parametrize("kind", ["compressing", "decoding"])
async def test_who_is_cancelled_leaves_no_work_behind(kind: str) -> None:
    budget = MemoryBudget()
    with Recorded() as executor:
        stream: AsyncIterator[bytes] = Compressing(arriving([BODY]), 3, executor)
        if kind == "decoding":
            bomb = arriving([zstd_bodies.bomb(100 * BLOCK)])
            stream = Decoding(bomb, 100 * BLOCK, Workers(executor, budget))
        reader = asyncio.create_task(gathered(stream))
        await executor.waits.wait()

        reader.cancel()
        await asyncio.wait([reader])
        executor.gate.set()

    assert reader.cancelled()
    assert budget.used == 0
    assert all(step.cancelled() for step in executor.steps)


async def test_an_error_of_the_body_ends_the_stream(executor: ThreadPoolExecutor) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield BODY
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await gathered(Compressing(broken(), 3, executor))
