"""A strict engine, and what a network does on the way to it, more particular than a storm."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import PannierError
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.retry import Timing
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.stores.base import Source, Store
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.engines import VERSITYGW, Engine, bucket_of, make_bucket, store_of
from support.faultproxy import Fault, FaultProxy, Hazard
from support.faults import CutUploads, Ending, LostAnswers, Refusals
from support.faulty import VirtualTime
from support.jumps import turns
from support.scripted import answer
from support.stores import paths, put, read, streamed, whole

pytestmark = [pytest.mark.slow, pytest.mark.engines]

MIB = 1 << 20
NOISE = random.Random(8650).randbytes(12 * MIB)
SMALL = NOISE[:MIB]
SLOW_DOWN = answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", "retry-after: 2")


class World:
    """A bucket of an engine, asked directly, and through a proxy with all that we do about it."""

    def __init__(self, engine: Engine, through: FaultProxy, shared: Shared) -> None:
        name = make_bucket(engine, f"test-{token_hex(8)}")
        resilience = Resilience("bucket", shared)
        self._pools = [Pool(Endpoint("127.0.0.1", port)) for port in (engine.port, through.port)]
        direct, between = (bucket_of(engine, name, pool) for pool in self._pools)
        self.direct = store_of(direct, VERSITYGW)
        self.bare = store_of(between, VERSITYGW)
        driver = store_of(between, VERSITYGW, given=resilience)
        self.resilient: Store = resilience.around(driver, sends_parts_again=True)

    async def close(self) -> None:
        for pool in self._pools:
            pool.close()
        await turns()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@asynccontextmanager
async def world_of(
    engine: Engine, fault: Fault | Hazard, threads: ThreadPoolExecutor, folder: Path
) -> AsyncIterator[World]:
    time, metrics = VirtualTime(), ResilienceMetrics(CollectorRegistry())
    timing = Timing(time.now, time.sleep, random.Random(1).random)
    shared = Shared(metrics, lambda: 0.0, threads, folder, timing)
    async with FaultProxy.run(engine.port, fault, random.Random(1)) as proxy:
        world = World(engine, proxy, shared)
        yield world
        await world.close()


def large() -> Source:
    """What goes in parts."""
    return streamed(NOISE)


def small() -> Source:
    return whole(SMALL)


@pytest.mark.parametrize("body", [small, large])
@pytest.mark.parametrize("ending", get_args(Ending))
async def test_an_upload_that_is_cut_is_never_stored(
    strict: Engine, threads: ThreadPoolExecutor, tmp_path: Path, ending: Ending, body: type[Source]
) -> None:
    cut = CutUploads(at=MIB // 2, ending=ending)
    async with world_of(strict, cut, threads, tmp_path) as world:
        await put(world.direct, "k", b"before")

        with pytest.raises(PannierError):
            await put(world.bare, "k", body())

        assert not cut.left
        assert await read(world.direct, "k") == b"before"


@pytest.mark.parametrize("body", [small, large])
@pytest.mark.parametrize("ending", get_args(Ending))
async def test_an_upload_that_is_cut_is_sent_again(
    strict: Engine, threads: ThreadPoolExecutor, tmp_path: Path, ending: Ending, body: type[Source]
) -> None:
    cut = CutUploads(at=MIB // 2, ending=ending, times=2)
    async with world_of(strict, cut, threads, tmp_path) as world:
        await put(world.resilient, "k", body())

        assert not cut.left
        assert await read(world.direct, "k") == (SMALL if body is small else NOISE)


@pytest.mark.parametrize("body", [small, large])
@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        lambda: CutUploads(at=MIB // 2, ending="reset", times=2),
        lambda: LostAnswers(b"PUT", b"POST", times=1),
    ],
)
async def test_an_upload_under_a_condition_outlives_what_any_other_does(
    strict: Engine,
    threads: ThreadPoolExecutor,
    tmp_path: Path,
    fault: Callable[[], CutUploads | LostAnswers],
    create: bool,
    body: type[Source],
) -> None:
    trouble = fault()
    async with world_of(strict, trouble, threads, tmp_path) as world:
        conditions = Conditions(if_none_match=("*",))
        if not create:
            conditions = Conditions(if_match=((await put(world.direct, "k", b"before")).etag,))

        record = await put(world.resilient, "k", body(), conditions)

        assert not trouble.left
        assert await world.direct.head("k") == record
        assert await read(world.direct, "k") == (SMALL if body is small else NOISE)


async def test_a_listing_does_not_begin_anew_for_each_connection_that_ends(
    strict: Engine, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Of a hundred objects too young to be known some meet one, each time."""
    ending = Hazard(resets=0.1, stalls=0.0)
    async with world_of(strict, ending, threads, tmp_path) as world:
        for number in range(100):
            await put(world.direct, f"k/{number:02d}", b"x")

        assert len(await paths(world.resilient, "k/")) == 100


OPERATIONS: Mapping[str, Callable[[Store], Awaitable[object]]] = {
    "read": lambda store: read(store, "k"),
    "put": lambda store: put(store, "other", small()),
    "put in parts": lambda store: put(store, "other", large()),
    "delete": lambda store: store.delete("k"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_storm_of_refusals_that_passes_is_not_noticed(
    strict: Engine, threads: ThreadPoolExecutor, tmp_path: Path, operation: str
) -> None:
    storm = Refusals(SLOW_DOWN, times=5)
    async with world_of(strict, storm, threads, tmp_path) as world:
        await put(world.direct, "k", SMALL)

        await OPERATIONS[operation](world.resilient)

        assert not storm.left
