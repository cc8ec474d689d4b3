import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

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
    DecoderBudget,
    Decoding,
    NotZstd,
    SeekTable,
    compress_small,
    decode_small,
    table_span,
    trimmed,
)
from pannier_gateway.span import Span
from support import zstd_bodies
from support.zstd_bodies import BLOCK, arriving, chunks, gathered

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
    return lambda data, *options: subprocess.run(
        [command, "--quiet", "--stdout", *options], input=data, capture_output=True, check=True
    ).stdout


async def compressed(body: list[bytes], executor: ThreadPoolExecutor, level: int = 3) -> bytes:
    return await gathered(Compressing(arriving(body), level, executor))


def decoding(
    stored: list[bytes], size: int, executor: ThreadPoolExecutor, *, exact: bool = True
) -> Decoding:
    return Decoding(arriving(stored), size, executor, DecoderBudget(), exact=exact)


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


@pytest.mark.parametrize("options", [["-1"], ["-19"], ["--no-check"], ["--fast=5"], ["-T2", "-B1M"]])
async def test_what_the_zstd_command_writes_is_read(
    executor: ThreadPoolExecutor, zstd: Zstd, options: list[str]
) -> None:
    stored = zstd(BODY, *options) + zstd(b"", *options) + zstd(b"more", *options)

    assert await gathered(decoding(chunks(stored, 70_000), len(BODY) + 4, executor)) == BODY + b"more"


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
        zstd_bodies.streamed(b"nothing said of the size" * 20),
        zstd_bodies.skippable(b"note") + compress_small(b"", 3) + zstd_bodies.skippable(b""),
        zstd_bodies.streamed(zstd_bodies.text(600_000))[-300:],
    ],
    ids=["two frames", "streamed", "skippable", "the end of one"],
)
async def test_a_stream_cut_anywhere_never_ends_well(
    executor: ThreadPoolExecutor, stored: bytes
) -> None:
    whole = stored if zstd_readable(stored) else None
    size = len(zstd_bodies.decoded(whole)) if whole else 600_000

    for stop in range(len(stored)):
        with pytest.raises(DecodeError):
            decode_small(stored[:stop], size)
    for stop in range(0, len(stored), 7):
        with pytest.raises(DecodeError):
            await gathered(decoding(chunks(stored[:stop], 5), size, executor))


def zstd_readable(stored: bytes) -> bool:
    return stored[:4] == zstd_bodies.MAGIC or stored[1:4] == zstd_bodies.skippable(b"")[1:4]


@FEW
@given(st.data())
async def test_damage_is_noticed(executor: ThreadPoolExecutor, data: st.DataObject) -> None:
    body = zstd_bodies.text(2000)
    stored = bytearray(compress_small(body, 3))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(DecodeError):
        await gathered(decoding([bytes(stored)], len(body), executor))
