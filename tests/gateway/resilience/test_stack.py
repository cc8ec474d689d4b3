"""All of it around one store."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.config.model import ResilienceConfig
from pannier_gateway.errors import Overloaded, StoreUnavailable, TooLarge
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.resilience.balance import Endpoints
from pannier_gateway.resilience.breaker import IN_A_ROW
from pannier_gateway.resilience.lag import FEW, LOOK_SECONDS, LOOKS
from pannier_gateway.resilience.resume import ResumePolicy
from pannier_gateway.resilience.retry import Timing
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.spool import MIB
from pannier_gateway.resilience.stack import Resilience
from pannier_gateway.stores.base import Buffer, Draft, Reading, Record, Source, Store
from pannier_gateway.stores.memory import MemoryStore
from support.faulty import (
    CuttingStore,
    Fault,
    FaultyStore,
    VirtualTime,
    busy,
    dead,
    silent,
    unreachable,
)
from support.hostile import Pieces, Wrapped
from support.stores import ManualClock, put, read, streamed

OPERATIONS = 1500
WORKERS = 8
NOISE = random.Random(8650).randbytes(400_000)


class Trial:
    """The whole stack over a store, in virtual time."""

    def __init__(self, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.time = VirtualTime()
        self.registry = CollectorRegistry()
        self.base = MemoryStore(ManualClock())
        timing = Timing(self.time.now, self.time.sleep, random.Random(1).random)
        self.metrics = ResilienceMetrics(self.registry)
        self.lag = 0.0
        self.shared = Shared(self.metrics, lambda: self.lag, pool, folder, timing)
        self.resilience = Resilience("bucket", self.shared)

    def shown(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with ThreadPoolExecutor(1) as pool:
        yield Trial(tmp_path, pool)


class StormyStore(Wrapped):
    """Does everything that a network and a store under it can do, at random."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        super().__init__(store)
        self._dice = dice

    @asynccontextmanager
    async def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> AsyncIterator[Reading]:
        with self._weather():
            pass
        async with super().open(path, ahead) as reading:
            yield reading

    async def head(self, path: str) -> Record:
        with self._weather():
            return await super().head(path)

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        with self._weather():
            return await super().put(path, source, draft, conditions)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        with self._weather():
            return await super().delete(path, conditions)

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        left = self._dice.randrange(500_000) if self._dice.random() < 0.5 else 1 << 40
        async for piece in pieces:
            if len(piece) > left:
                yield piece[:left]
                if self._dice.random() < 0.5:
                    raise silent()
                return
            left -= len(piece)
            yield piece

    async def incoming(self, pieces: AsyncIterator[Buffer]) -> Pieces:
        left = self._dice.randrange(500_000) if self._dice.random() < 0.2 else 1 << 40
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                raise silent()
            await asyncio.sleep(0)
            yield piece

    @contextmanager
    def _weather(self) -> Iterator[None]:
        dice = self._dice.random()
        if dice < 0.08:
            raise self._dice.choice([unreachable, dead, busy, silent])()
        yield
        if dice > 0.97:
            raise silent()


@pytest.mark.parametrize("seed", range(2))
async def test_nobody_notices_a_storm(trial: Trial, seed: int) -> None:
    dice = random.Random(seed)
    resilience = trial.resilience
    resilience.obey(ResilienceConfig(attempts=10))  # with faults as thick as these
    resilience.retrier.policy = replace(resilience.retrier.policy, deadline=1e9)
    resilience.resumer.policy = ResumePolicy(attempts=50, patience=1e9)  # time is everybody's here
    store = resilience.around(StormyStore(trial.base, dice))

    await asyncio.gather(*(work(store, f"{each}/", dice) for each in range(WORKERS)))

    for retries in ("retries", "resumes", "lost_answers"):
        assert total(trial.registry, f"pannier_{retries}_total") > 0
    assert (resilience.slots.in_flight, len(resilience.slots.queue)) == (0, 0)
    for place in ("memory", "spool in memory", "spool on disk"):
        assert trial.shown("pannier_body_bytes", place=place) == 0


async def work(store: Store, prefix: str, dice: random.Random) -> None:
    """One user's operations on keys of their own; each has to come out as it should."""
    kept: dict[str, bytes] = {}
    for _ in range(OPERATIONS // WORKERS):
        key = f"{prefix}{dice.randrange(5)}"
        match dice.randrange(4):
            case 0:
                start = dice.randrange(len(NOISE))
                kept[key] = NOISE[start : start + dice.choice([100, 300_000])]
                small = len(kept[key]) <= 100
                await put(store, key, kept[key] if small else streamed(kept[key], 70_000))
            case 1 | 2 if key in kept:
                assert await read(store, key) == kept[key]
            case 3 if key in kept:
                assert (await store.head(key)).size == len(kept[key])
                if dice.random() < 0.3:
                    await store.delete(key)
                    del kept[key]


def total(registry: CollectorRegistry, name: str) -> float:
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    )


async def test_what_is_turned_away_is_not_asked_for_again(trial: Trial) -> None:
    class Full(FaultyStore):
        async def head(self, path: str) -> Record:
            self.asked.append("head")
            raise Overloaded("enough")

    full = Full(trial.base)

    with pytest.raises(Overloaded):
        await trial.resilience.around(full).head("k")
    assert full.asked == ["head"]


async def test_a_wait_between_two_tries_holds_no_slot(trial: Trial) -> None:
    held: list[int] = []

    async def noting(_: float) -> None:
        held.append(trial.resilience.slots.in_flight)

    trial.resilience.retrier.timing = trial.resilience.retrier.timing._replace(sleep=noting)
    faulty = FaultyStore(trial.base, [Fault(unreachable()), Fault(busy())])
    await put(trial.base, "k", b"x")

    await trial.resilience.around(faulty).head("k")

    assert held == [0, 0]


async def test_a_bucket_says_how_hard_to_try_at_any_time(trial: Trial) -> None:
    faulty = FaultyStore(trial.base)
    store = trial.resilience.around(faulty)
    for attempts, asked in ((2, 2), (1, 1), (None, 6)):
        faulty.faults.extend([Fault(unreachable())] * 6)
        faulty.asked.clear()
        trial.resilience.obey(ResilienceConfig(attempts=attempts))

        with pytest.raises(StoreUnavailable):
            await store.head("k")

        assert faulty.asked == ["head"] * asked
        faulty.faults.clear()


async def test_a_streamed_upload_waits_for_a_store_that_starts_anew(trial: Trial) -> None:
    faulty = FaultyStore(trial.base, [Fault(unreachable())] * 6)

    await put(trial.resilience.around(faulty), "k", streamed(NOISE))

    assert faulty.asked == ["put"] * 7


async def test_a_bucket_that_is_to_be_asked_once_is_asked_once(trial: Trial) -> None:
    trial.resilience.obey(ResilienceConfig(attempts=1))
    faulty = FaultyStore(trial.base, [Fault(unreachable())])

    with pytest.raises(StoreUnavailable):
        await put(trial.resilience.around(faulty), "k", streamed(NOISE))
    assert faulty.asked == ["put"]


async def test_a_driver_that_sends_parts_again_needs_no_spool(trial: Trial) -> None:
    lost = [Fault(unreachable(), read=True), Fault(silent(), done=True)]
    faulty = FaultyStore(trial.base, lost)
    store = trial.resilience.around(faulty, sends_parts_again=True)

    with pytest.raises(StoreUnavailable):
        await put(store, "k", streamed(NOISE))
    await put(store, "k", streamed(NOISE))  # and finds what has only lost its answer

    assert faulty.asked == ["put", "put", "head", "open"]
    assert total(trial.registry, "pannier_unreplayable_uploads_total") == 0


async def test_bodies_that_may_be_sent_again_leave_half_of_the_disk_to_objects(
    trial: Trial,
) -> None:
    trial.shared.allot(4 * MIB)
    faulty = FaultyStore(trial.base, [Fault(unreachable(), read=True)])

    with pytest.raises(StoreUnavailable):  # and not sent again: it is larger than a quarter
        await put(trial.resilience.around(faulty), "k", streamed(NOISE * 4))
    with pytest.raises(TooLarge, match=r"over the 1 MiB .*--spool-size"):
        await trial.resilience.keep(streamed(bytes(9 * MIB)))


async def test_a_part_that_others_leave_no_room_for_may_be_sent_later(trial: Trial) -> None:
    trial.shared.allot(64 * MIB)
    first = await trial.resilience.keep(streamed(bytes(10 * MIB)))

    with pytest.raises(Overloaded, match="ask again"):
        await trial.resilience.keep(streamed(bytes(15 * MIB)))
    await first.close()
    await (await trial.resilience.keep(streamed(bytes(15 * MIB)))).close()


def test_a_bucket_says_whether_to_hedge(trial: Trial) -> None:
    for said, wanted in ((False, (False, False)), (True, (True, True)), (None, (True, False))):
        trial.resilience.obey(ResilienceConfig(hedging=said))

        policy = trial.resilience.hedging.policy
        assert (policy.enabled, policy.uploads) == wanted


# What is shown


async def test_what_was_done_is_counted(trial: Trial) -> None:
    await put(trial.base, "k", NOISE)
    cutting = CuttingStore(trial.base, [100_000], unreachable)
    faulty = FaultyStore(cutting, [Fault(dead()), None, Fault(silent(), done=True)])
    store = trial.resilience.around(faulty)

    await read(store, "k")
    await put(store, "other", b"x")

    counted = trial.shown
    retried = {"bucket": "bucket", "operation": "open", "reason": "KeptAliveDied", "outcome": "ok"}
    assert counted("pannier_retries_total", **retried) == 1
    resumed = {"bucket": "bucket", "reason": "ConnectFailed", "outcome": "ok"}
    assert counted("pannier_resumes_total", **resumed) == 1
    assert counted("pannier_lost_answers_total", bucket="bucket", outcome="found") == 1


async def test_reads_that_were_late_are_counted(trial: Trial) -> None:
    late, second = asyncio.Event(), asyncio.Event()

    class LateOnce(Wrapped):
        async def head(self, path: str) -> Record:
            if not late.is_set():
                late.set()
                await second.wait()
            return await super().head(path)

    await put(trial.base, "k", b"x")
    hedging = trial.resilience.hedging
    hedging.policy = replace(hedging.policy, unknown=0.01)

    await trial.resilience.around(LateOnce(trial.base)).head("k")

    won = {"bucket": "bucket", "operation": "head", "outcome": "won"}
    assert trial.shown("pannier_hedges_total", **won) == 1


async def test_what_becomes_of_an_endpoint_is_counted_and_shown(trial: Trial) -> None:
    endpoints = trial.resilience.among({"a": 1})
    at = {"bucket": "bucket", "endpoint": "a"}
    for _ in range(IN_A_ROW):
        with suppress(StoreUnavailable), endpoints.pick():
            raise unreachable()
    assert trial.shown("pannier_endpoint_breaker", **at) == 1

    await trial.time.sleep(2)
    with endpoints.pick():
        await trial.time.sleep(0.2)

    assert trial.shown("pannier_endpoint_breaker", **at) == 0
    for change in ("opened", "probed", "closed"):
        assert trial.shown("pannier_breaker_changes_total", **at, change=change) == 1
    first_byte = endpoints.all[0].cost(trial.time.now())
    assert trial.shown("pannier_endpoint_first_byte_seconds", **at) == first_byte > 0.2


@pytest.mark.parametrize(("kind", "lag"), [("write", 1.0), ("read", 2.0)])
def test_who_is_turned_away_while_the_loop_is_late_is_counted(
    trial: Trial, kind: str, lag: float
) -> None:
    slots = trial.resilience.slots
    slots.in_flight = FEW
    trial.lag = lag

    for look in range(1, LOOKS):
        assert slots.enter(look * LOOK_SECONDS, write=kind == "write")
    with pytest.raises(Overloaded) as told:
        slots.enter(LOOKS * LOOK_SECONDS, write=kind == "write")

    assert told.value.retry_after == 1
    late = {"bucket": "bucket", "kind": kind, "reason": "event loop late"}
    assert trial.shown("pannier_shed_requests_total", **late) == 1


async def test_who_holds_too_much_of_all_memory_is_counted(trial: Trial) -> None:
    bodies = trial.shared.bodies
    bodies.used = 1 << 40

    with pytest.raises(Overloaded):
        await bodies.take(write=True)

    assert total(trial.registry, "pannier_shed_requests_total") == 1


def test_what_is_gone_by_is_shown_until_the_bucket_is_gone(trial: Trial) -> None:
    endpoints = Endpoints("bucket", {"a": 1}, lambda *_: None)
    trial.metrics.watch_endpoints("bucket", endpoints.shown)
    of_bucket = ["retry_budget_coins", "store_limit_requests", "store_in_flight_requests"]
    of_bucket += ["store_waiting_requests", "hedge_delay_seconds"]

    shown = [trial.shown(f"pannier_{name}", bucket="bucket") for name in of_bucket]
    assert shown == [500, 64, 0, 0, 0.5]
    assert trial.shown("pannier_endpoint_breaker", bucket="bucket", endpoint="a") == 0
    assert trial.shown("pannier_endpoint_in_flight_requests", bucket="bucket", endpoint="a") == 0

    trial.metrics.forget("bucket")

    assert trial.shown("pannier_retry_budget_coins", bucket="bucket") is None
    assert trial.shown("pannier_endpoint_breaker", bucket="bucket", endpoint="a") is None
