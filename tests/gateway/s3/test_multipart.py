"""Bodies cut into parts."""

from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pannier_gateway.errors import TooLarge
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.shared import PARTS, Shared
from pannier_gateway.resilience.spool import SpoolLimits
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.s3 import multipart
from pannier_gateway.stores.s3.multipart import FIRST_PARTS, GROWING, MOST_PARTS, Parts, part_size
from support.engines import provision


class Pieces:
    """A Source whose pieces tell from which number they are."""

    whole: bytes | None = None

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number, size in enumerate(self._sizes):
            yield bytes([number % 256]) * size


async def whole(source: AsyncIterable[Buffer]) -> bytes:
    return b"".join([bytes(piece) async for piece in source])


@given(st.lists(st.integers(0, 35), max_size=12))
async def test_parts_are_full_but_the_last_and_come_to_the_whole(sizes: list[int]) -> None:
    given = provision()
    parts: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multipart, "FIRST_PARTS", 10)
        async with Parts(aiter(Pieces(sizes)), given.keep) as cut:
            while not cut.ended:
                part = await cut.next()
                parts.append(await whole(part))
                assert await whole(part) == parts[-1]
                assert (part.size, part.checksum) == (len(parts[-1]), crc64nvme(parts[-1]))

    assert b"".join(parts) == await whole(Pieces(sizes))
    assert all(len(part) == 10 for part in parts[:-1])
    assert 0 < len(parts[-1]) <= 10 or parts == [b""]


async def test_parts_are_kept_in_memory_as_long_as_there_is_room(tmp_path: Path) -> None:
    metrics = ResilienceMetrics(CollectorRegistry())
    with ThreadPoolExecutor(1) as threads:
        shared = Shared(metrics, lambda: 0.0, threads, tmp_path)
        given = Resilience("bucket", shared)
        piece = 1 << 20
        crowd = [Parts(aiter(Pieces([piece] * 9)), given.keep) for _ in range(5)]
        async with AsyncExitStack() as stack:
            for each in crowd:
                await stack.enter_async_context(each)
                part = await each.next()
                assert part.size == FIRST_PARTS
                assert part.checksum == crc64nvme(await whole(part))

            assert shared.parts.memory <= PARTS.memory
            assert shared.parts.memory + shared.parts.disk == 5 * FIRST_PARTS
            assert shared.parts.disk > 0

        assert (shared.parts.memory, shared.parts.disk) == (0, 0)


async def test_a_part_that_there_is_no_room_for_is_refused_and_nothing_of_it_stays(
    tmp_path: Path,
) -> None:
    metrics = ResilienceMetrics(CollectorRegistry())
    with ThreadPoolExecutor(1) as threads:
        shared = Shared(metrics, lambda: 0.0, threads, tmp_path)
        shared.parts.limits = SpoolLimits(10, 10, 10, 10)
        async with Parts(aiter(Pieces([9, 9, 9])), Resilience("bucket", shared).keep) as parts:
            with pytest.raises(TooLarge, match="--spool-size"):
                await parts.next()

        assert (shared.parts.memory, shared.parts.disk) == (0, 0)


def test_parts_grow_so_that_ten_thousand_hold_what_s3_keeps() -> None:
    sizes = [part_size(number) for number in range(1, MOST_PARTS + 1)]

    assert sizes[0] == FIRST_PARTS == sizes[GROWING - 1]
    assert sizes[GROWING] == 2 * FIRST_PARTS
    assert sum(sizes) > 5 << 40
    with pytest.raises(TooLarge):
        part_size(MOST_PARTS + 1)
