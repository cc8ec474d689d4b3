"""Bodies that can be read again while they come."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import IO, cast

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from pannier_gateway.errors import BadRequest, Damaged
from pannier_gateway.resilience.spool import FEW, Spool, SpoolLimits, Tape
from pannier_gateway.stores.base import Buffer, Source
from support.stores import Body, Held, streamed

BODY = bytes(range(251)) * 40
SMALL = SpoolLimits(memory_each=1000, memory=3000, disk_each=8000, disk=12_000, batch=0)
Tapes = Callable[[Source], Tape]
BODIES = st.lists(st.binary(max_size=700), max_size=12)


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def spool(tmp_path: Path, executor: ThreadPoolExecutor) -> Spool:
    return Spool(tmp_path, executor, SMALL)


@pytest.fixture
def torn() -> list[str]:
    """Why tapes were torn."""
    return []


@pytest.fixture
async def tape(spool: Spool, torn: list[str]) -> AsyncIterator[Tapes]:
    """Makes tapes that are closed in the end."""
    made: list[Tape] = []

    def make(source: Source) -> Tape:
        made.append(Tape(source, spool, torn.append))
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def taken(tape: Tape, most: int) -> bytes:
    """What a reader gets that leaves once it has so many bytes."""
    got = bytearray()
    async with aclosing(aiter(tape)) as pieces:  # type: ignore[type-var]  # it is a generator
        async for piece in pieces:
            got += piece
            if len(got) >= most:
                break
    return bytes(got)


async def everything(tape: Tape) -> bytes:
    return await taken(tape, 1 << 60)


@given(pieces=BODIES, stops=st.lists(st.integers(0, 9000), max_size=4))
async def test_every_reader_gets_the_body_from_its_beginning(
    tmp_path_factory: pytest.TempPathFactory,
    executor: ThreadPoolExecutor,
    pieces: list[bytes],
    stops: list[int],
) -> None:
    spool = Spool(tmp_path_factory.getbasetemp(), executor, SMALL)
    tape = Tape(Body(pieces), spool, print)
    body = b"".join(pieces)

    for stop in stops:
        assert body.startswith(await taken(tape, stop))
    assert await everything(tape) == body
    assert await everything(tape) == body
    assert (tape.size, tape.checksum) == (len(body), crc64nvme(body))
    await tape.close()
    assert (spool.memory, spool.disk) == (0, 0)


async def test_a_small_body_stays_in_memory_and_a_large_one_leaves_it(
    spool: Spool, tape: Tapes
) -> None:
    small, large = (tape(streamed(BODY[:n], 100)) for n in (900, 5000))

    await everything(small)
    assert (spool.memory, spool.disk) == (900, 0)
    await everything(large)

    assert spool.memory <= 900 + SMALL.memory_each
    assert spool.memory + spool.disk == 5900
    assert list(spool.folder.iterdir()) == []  # the file has no name
    await small.close()
    await large.close()
    assert (spool.memory, spool.disk) == (0, 0)


async def test_memory_that_others_hold_is_not_taken(spool: Spool, tape: Tapes) -> None:
    others = [tape(streamed(BODY[:1000], 1000)) for _ in range(3)]
    for each in others:
        await everything(each)
    late = tape(streamed(BODY[:500], 500))

    assert await everything(late) == await everything(late) == BODY[:500]
    assert (spool.memory, spool.disk) == (3000, 500)


async def test_many_bodies_are_kept_in_an_eighth_of_the_memory(spool: Spool, tape: Tapes) -> None:
    few = [tape(streamed(BODY[:300], 100)) for _ in range(FEW)]
    for each in few:
        await everything(each)
    assert (spool.memory, spool.disk) == (FEW * 300, 0)
    await few[0].close()
    many = [tape(streamed(BODY[:300], 100)) for _ in range(2)]

    for each in many:
        assert await everything(each) == await everything(each) == BODY[:300]
    assert (spool.memory, spool.disk) == ((FEW - 1) * 300, 600)
    for each in few:
        await each.close()
    late = tape(streamed(BODY[:300], 100))
    assert await everything(late) == await everything(late) == BODY[:300]
    assert (spool.memory, spool.disk) == (300, 600)


async def test_a_body_that_outgrows_its_share_goes_on_and_can_not_be_read_again(
    spool: Spool, tape: Tapes, torn: list[str]
) -> None:
    large = tape(streamed(BODY, 500))

    assert await everything(large) == BODY
    assert not large.replayable
    assert torn == ["too large"]
    assert (spool.memory, spool.disk) == (0, 0)
    with pytest.raises(Damaged):
        await everything(large)


async def test_a_full_spool_takes_no_more(tape: Tapes, torn: list[str]) -> None:
    first, second = (tape(streamed(BODY[:7500], 500)) for _ in range(2))

    assert await everything(first) == await everything(second) == BODY[:7500]
    assert (first.replayable, second.replayable) == (True, False)
    assert torn == ["spool full"]


async def test_a_disk_that_fails_costs_no_upload(
    tmp_path: Path, executor: ThreadPoolExecutor
) -> None:
    torn: list[str] = []
    folder = tmp_path / "file"
    folder.touch()
    spool = Spool(folder, executor, SMALL)

    assert await everything(Tape(streamed(BODY, 500), spool, torn.append)) == BODY
    assert torn == ["disk failed"]
    assert (spool.memory, spool.disk) == (0, 0)


async def test_bytes_that_rot_in_the_spool_never_make_a_whole_body(tape: Tapes) -> None:
    rotten = tape(streamed(BODY[:5000], 500))
    await everything(rotten)
    file = cast(IO[bytes], rotten._file)  # the file has no other name to get at it by
    os.pwrite(file.fileno(), b"?", 100)

    got = bytearray()
    with pytest.raises(Damaged):
        await gather(rotten, got)
    assert len(got) < 5000


async def gather(tape: Tape, got: bytearray) -> None:
    async for piece in tape:
        got += piece


class Slow:
    """A source whose second piece waits until it is told to come."""

    whole: bytes | None = None

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.told = asyncio.Event()
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        try:
            yield b"first "
            self.asked.set()
            await self.told.wait()
            yield b"second"
        finally:
            self.ended = True


async def test_a_reader_that_is_cancelled_takes_nothing_of_the_body_with_it(tape: Tapes) -> None:
    slow = Slow()
    taped = tape(slow)
    reading = asyncio.create_task(everything(taped))
    await slow.asked.wait()
    reading.cancel()
    await asyncio.wait([reading])

    slow.told.set()

    assert await everything(taped) == b"first second"


async def test_a_tape_that_is_closed_waits_for_nothing(spool: Spool, tape: Tapes) -> None:
    slow = Slow()
    taped = tape(slow)
    reading = asyncio.create_task(everything(taped))
    await slow.asked.wait()
    reading.cancel()
    await asyncio.wait([reading])

    await taped.close()

    assert slow.ended
    assert spool.memory == 0


async def test_a_body_of_which_no_more_is_wanted_is_closed_with_its_tape(tape: Tapes) -> None:
    source = Held([b"one", b"two"])
    closing = tape(source)
    assert await taken(closing, 1) == b"one"
    assert not source.closed

    await closing.close()

    assert source.closed


async def test_a_body_that_fails_never_looks_like_one_that_has_ended(tape: Tapes) -> None:
    failing = tape(Body([b"a", BadRequest("cut off")]))

    for _ in range(3):
        with pytest.raises(BadRequest):
            await everything(failing)
