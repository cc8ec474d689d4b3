"""A real engine behind a network that breaks: nobody who reads or writes may notice."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry

from pannier_gateway.config.model import ResilienceConfig
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.retry import Timing
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Store
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.engines import (
    VERSITYGW,
    Engine,
    bucket_at,
    bucket_of,
    make_bucket,
    store_of,
    versitygw,
)
from support.faultproxy import FaultProxy, Hazard, Trouble
from support.pools import in_use
from support.stores import draft, put, read, streamed

pytestmark = pytest.mark.engines

NOISE = random.Random(8650).randbytes(10 << 20)
SIZES = (1000, 1000, 1000, 60_000, 400_000, 3 << 20)
WORKERS, OPERATIONS = 6, 30


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with versitygw(tmp_path_factory.mktemp("versitygw")) as engine:
        yield engine


@asynccontextmanager
async def resilient(engine: Engine, port: int, shared: Shared) -> AsyncIterator[Store]:
    """A new bucket of the engine, asked through `port`, with all that stands around a driver."""
    name = make_bucket(engine, f"storm-{secrets.token_hex(6)}")
    resilience = Resilience("bucket", shared)
    async with in_use(Pool(Endpoint("127.0.0.1", port))) as pool:
        driver = store_of(bucket_of(engine, name, pool), VERSITYGW, given=resilience)
        yield resilience.around(driver, sends_parts_again=True)


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(resets=1.0, within=12 << 20, stalls=0.001, stall_seconds=0.2),
        Hazard(resets=0.1, stalls=0.05, stall_seconds=0.3),
    ],
)
async def test_a_network_that_breaks_is_not_noticed(
    engine: Engine, tmp_path: Path, trouble: Trouble | Hazard
) -> None:
    dice = random.Random(1)
    registry = CollectorRegistry()
    with ThreadPoolExecutor(1) as threads:
        shared = Shared(ResilienceMetrics(registry), lambda: 0.0, threads, tmp_path)
        async with (
            FaultProxy.run(engine.port, trouble, dice) as proxy,
            resilient(engine, proxy.port, shared) as store,
        ):
            await asyncio.gather(*(work(store, f"{n}/", dice) for n in range(WORKERS)))

    assert proxy.resets > 3
    for place in ("memory", "spool in memory", "spool on disk"):
        assert registry.get_sample_value("pannier_body_bytes", {"place": place}) == 0


async def work(store: Store, prefix: str, dice: random.Random) -> None:
    """One user's operations on keys of their own; each has to come out as it should."""
    kept: dict[str, bytes] = {}
    for _ in range(OPERATIONS):
        key = f"{prefix}{dice.randrange(3)}"
        if key in kept and dice.random() < 0.6:
            assert await read(store, key) == kept[key]
            assert (await store.head(key)).size == len(kept[key])
            continue
        size = dice.choice(SIZES)
        start = dice.randrange(len(NOISE) - size)
        kept[key] = NOISE[start : start + size]
        if size < 100_000:
            await put(store, key, kept[key])
        else:
            await store.put(key, streamed(kept[key], 200_000), draft())


async def test_an_endpoint_that_swallows_everything_is_hardly_noticed(
    engine: Engine, tmp_path: Path
) -> None:
    hole = Trouble(resets=0.0, within=1, stalls=1.0, stall_seconds=1000.0)
    calm = hole._replace(stalls=0.0)
    dice = random.Random(1)
    with ThreadPoolExecutor(1) as threads:
        async with (
            FaultProxy.run(engine.port, calm, dice) as first,
            FaultProxy.run(engine.port, hole, dice) as second,
            FaultProxy.run(engine.port, calm, dice) as third,
        ):
            name = make_bucket(engine, f"storm-{secrets.token_hex(6)}")
            pools = [Pool(Endpoint("127.0.0.1", each.port)) for each in (first, second, third)]
            await put(store_of(bucket_of(engine, name, pools[0]), VERSITYGW), "k", b"x")
            before = second.connections
            entrances = [Entrance(f"127.0.0.1:{engine.port}", pool) for pool in pools]
            shared = Shared(ResilienceMetrics(CollectorRegistry()), lambda: 0.0, threads, tmp_path)
            resilience = Resilience("bucket", shared)
            resilience.obey(ResilienceConfig(hedging=True))  # of uploads as well
            store = resilience.around(store_of(bucket_at(*entrances, name=name), VERSITYGW))

            times = [await timed(store, number) for number in range(100)]
            for pool in pools:
                pool.close()
            await asyncio.sleep(0)

    assert before == 0
    assert 0 < second.connections <= 2
    assert first.connections > 0
    assert third.connections > 0
    assert max(times) < 5  # seconds, where the first byte is waited for 40
    assert sorted(times)[95] < 0.5


async def timed(store: Store, number: int) -> float:
    started = monotonic()
    await put(store, f"k{number}", b"y")
    assert await read(store, "k") == b"x"
    return monotonic() - started


class Restart:
    """A store that goes down when it is told to, and comes up after three waits for it."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.waits: list[float] = []
        self.timing = Timing(sleep=self._wait)
        self.down = proxy.down
        self._up = proxy.up

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == 3:
            await self._up()


@pytest.fixture
async def restart(engine: Engine, tmp_path: Path) -> AsyncIterator[tuple[Restart, Store]]:
    """And the store behind it."""
    with ThreadPoolExecutor(1) as threads:
        async with FaultProxy.run(
            engine.port, Trouble(0.0, 1, 0.0, 0.0), random.Random(1)
        ) as proxy:
            restart = Restart(proxy)
            metrics = ResilienceMetrics(CollectorRegistry())
            shared = Shared(metrics, lambda: 0.0, threads, tmp_path, restart.timing)
            async with resilient(engine, proxy.port, shared) as store:
                yield restart, store


async def test_an_upload_outlives_a_store_that_starts_anew(
    restart: tuple[Restart, Store],
) -> None:
    outage, store = restart

    class Body:
        whole: bytes | None = None

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield NOISE[: 9 << 20]  # more than a part, which is sent before the next is asked for
            if not outage.waits:
                await outage.down()
            yield NOISE[9 << 20 :]

    await store.put("k", Body(), draft())

    assert len(outage.waits) >= 3
    assert await read(store, "k") == NOISE


async def test_a_download_outlives_a_store_that_starts_anew(
    restart: tuple[Restart, Store],
) -> None:
    outage, store = restart
    await put(store, "k", NOISE)

    got = bytearray()
    async with store.open("k") as reading:
        async for piece in reading.chunks(Span(0, len(NOISE))):
            got += piece
            if not outage.waits and len(got) > 1 << 20:
                await outage.down()

    assert len(outage.waits) >= 3
    assert got == NOISE


async def test_nobody_there_is_told_within_a_second(engine: Engine, tmp_path: Path) -> None:
    async with FaultProxy.run(engine.port, Trouble(), random.Random(1)) as proxy:
        gone = proxy.port
    with ThreadPoolExecutor(1) as threads:
        shared = Shared(ResilienceMetrics(CollectorRegistry()), lambda: 0.0, threads, tmp_path)
        async with resilient(engine, gone, shared) as store:
            started = monotonic()
            with pytest.raises(Exception, match="can't be reached"):
                await store.head("k")

    assert monotonic() - started < 1.0
