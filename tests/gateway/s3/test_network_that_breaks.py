"""A gateway before a real engine, and a network or an engine that breaks: its clients go on."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from socket import MSG_PEEK, SO_RCVBUF, SOL_SOCKET

import pytest

from pannier import Client, NotFound
from pannier_gateway.resilience.lag import FEW, LOOKS
from pannier_gateway.threads import in_thread
from support import example
from support.engines import Engine, client, make_bucket, unfinished_uploads, versitygw
from support.faultproxy import FaultProxy, Trouble
from support.faults import Drip, Sluice
from support.gateway import Gateway, running_gateway
from support.wire import CutOff, Wire, head

pytestmark = [pytest.mark.slow, pytest.mark.engines]

MIB = 1 << 20
NOISE = random.Random(8650).randbytes(24 * MIB)
SIZES = (1000, 1000, 16_000, 300_000, MIB, 10 * MIB)
USERS, OPERATIONS = 6, 40
TARGET = "/v1/objects/attachments/_/k"
LONG_SECONDS = 40.0  # that a long body may take where others keep the machine busy
STOPPED_SECONDS = 1.6  # late enough for all writes to be turned away
CALM = Trouble(resets=0.0, stalls=0.0)
TROUBLE = Trouble(resets=0.8, within=16 * MIB, stalls=0.002, stall_seconds=1.0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with versitygw(tmp_path / "engine") as running:
        make_bucket(running)
        yield running


@pytest.fixture
def users() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(USERS) as threads:
        yield threads


def gateway_over(
    folder: Path, port: int, resilience: str = "{attempts: 6}"
) -> AbstractContextManager[Gateway]:
    """A gateway whose store is at `port`."""
    file = folder / "s3.yaml"
    text = example.plain(f"http://127.0.0.1:{port}")
    text = text.replace("  s3:", f"  resilience: {resilience}\n  s3:", 1)
    file.write_text(text.replace("compression: Zstd", "compression: None"))
    return running_gateway(folder / "data", manifests=file)


def use(url: str, seed: int) -> int:
    """One user's operations on keys of their own, each of which has to come out as it should; how
    many bytes were moved."""
    dice = random.Random(seed)
    kept: dict[str, bytes] = {}
    moved = 0
    with Client(url) as pannier:
        session = pannier.session("attachments", user=seed)
        for _ in range(OPERATIONS):
            key = f"k{dice.randrange(4)}"
            match dice.random():
                case chance if chance < 0.45:
                    body = piece_of_noise(dice)
                    session.put(halves(body) if dice.random() < 0.5 else body, key)
                    kept[key] = body
                case chance if chance < 0.5:
                    session.delete(key)
                    kept.pop(key, None)
                case _ if key in kept:
                    assert session.get(key).read() == kept[key]
                case _:
                    with pytest.raises(NotFound):
                        session.get(key)
            moved += len(kept.get(key, b""))
        assert sorted(each.key for each in session.list()) == sorted(kept)
    return moved


def piece_of_noise(dice: random.Random) -> bytes:
    size = dice.choice(SIZES)
    start = dice.randrange(len(NOISE) - size)
    return NOISE[start : start + size]


def halves(body: bytes) -> list[bytes]:
    """A body whose length nobody is told."""
    return [body[: len(body) // 2], body[len(body) // 2 :]]


async def test_a_storm_is_not_noticed(
    engine: Engine, users: ThreadPoolExecutor, tmp_path: Path
) -> None:
    async with FaultProxy.run(engine.port, TROUBLE, random.Random(1)) as proxy:
        with gateway_over(tmp_path, proxy.port) as gateway:
            moved = await asyncio.gather(
                *(in_thread(users, partial(use, gateway.url, seed)) for seed in range(USERS))
            )
            mended = await in_thread(users, partial(gateway.metric, "pannier_retries_total"))
            held = await in_thread(users, partial(gateway.metric, "pannier_body_bytes"))

    assert sum(moved) > 100 * MIB
    assert proxy.resets > 3
    assert mended > 0
    assert held == 0
    # an upload whose beginning was done and not told of can't be taken back
    assert len(unfinished_uploads(engine, "objects")) <= 2


async def test_uploads_outlive_the_death_of_their_store(
    engine: Engine, users: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """It is killed when each has sent half of its body, and comes back when it has been missed."""
    bodies = [NOISE[:size] for size in (1000, MIB, 9 * MIB, 24 * MIB)]
    halfway = threading.Barrier(len(bodies), engine.kill)

    def halves_of(body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        halfway.wait(20)
        yield body[len(body) // 2 :]

    def upload(url: str, body: bytes) -> bytes:
        with Client(url) as pannier:
            session = pannier.session("attachments", size=len(body))
            session.put(halves_of(body), "k")
            return session.get("k").read()

    with gateway_over(tmp_path, engine.port) as gateway:
        uploading = [
            asyncio.ensure_future(in_thread(users, partial(upload, gateway.url, body)))
            for body in bodies
        ]
        retries = partial(gateway.metric, "pannier_retries_total")
        while await in_thread(users, retries) == 0:
            assert not any(each.done() for each in uploading)
        with versitygw(engine.folder, engine.port):
            assert await asyncio.gather(*uploading) == bodies


@pytest.mark.parametrize("overwritten", [True, False], ids=["overwritten", "the same"])
async def test_a_download_that_breaks_off_goes_on_with_the_same_object_or_not_at_all(
    engine: Engine, users: ThreadPoolExecutor, tmp_path: Path, overwritten: bool
) -> None:
    newer = NOISE[::-1]

    def begin(wire: Wire) -> None:
        """Have the download on its way, with more to come than fits into all sockets together."""
        wire.sock.settimeout(LONG_SECONDS)
        assert wire.ask("PUT", TARGET, body=NOISE).status == 200
        wire.sock.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 16)
        wire.send(head("GET", TARGET))
        wire.sock.recv(1, MSG_PEEK)
        if overwritten:
            (stored,) = client(engine).list_objects_v2(Bucket="objects", Prefix="att")["Contents"]
            client(engine).put_object(Bucket="objects", Key=stored["Key"], Body=newer)

    def end(wire: Wire) -> bytes:
        try:
            return wire.answer().body
        except CutOff as cut:
            return cut.body

    async with FaultProxy.run(engine.port, CALM, random.Random(1)) as proxy:
        with gateway_over(tmp_path, proxy.port) as gateway, Wire(gateway.url) as wire:
            await in_thread(users, partial(begin, wire))
            await proxy.down()
            await proxy.up()
            body = await in_thread(users, partial(end, wire))
            resumed = await in_thread(users, partial(gateway.metric, "pannier_resumes_total"))

    assert resumed > 0
    assert NOISE.startswith(body)
    assert (len(body) < len(NOISE)) == overwritten


async def test_a_store_that_drips_for_longer_than_all_its_limits_is_read_to_the_end(
    engine: Engine, users: ThreadPoolExecutor, tmp_path: Path
) -> None:
    limits = "{firstByteTimeout: 700ms, progressTimeout: 700ms}"
    body = NOISE[:600_000]

    def use(url: str) -> bytes:
        with Wire(url) as wire:
            wire.sock.settimeout(LONG_SECONDS)
            assert wire.ask("PUT", TARGET, body=body).status == 200
            return wire.ask("GET", TARGET).body

    async with FaultProxy.run(engine.port, Drip(8192, 0.02), random.Random(1)) as proxy:
        with gateway_over(tmp_path, proxy.port, limits) as gateway:
            got = await in_thread(users, partial(use, gateway.url))
            failures = [
                await in_thread(users, partial(gateway.metric, f"pannier_{name}_total"))
                for name in ("retries", "resumes")
            ]

    assert got == body
    assert failures == [0, 0]


async def test_a_gateway_whose_loop_is_late_turns_writes_away(
    engine: Engine, users: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """It is stopped again and again, as something that blocks its loop would have it."""
    sluice, patience = Sluice(), "{firstByteTimeout: 60s, hedging: Disabled}"

    def keep_busy(gateway: Gateway, crowd: ExitStack) -> None:
        for _ in range(FEW):
            crowd.enter_context(Wire(gateway.url)).send(head("GET", TARGET))
        while gateway.metric("pannier_store_in_flight_requests") < FEW:
            pass

    def stop_and_ask(gateway: Gateway, crowd: ExitStack) -> Wire:
        gateway.process.send_signal(SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        wire = crowd.enter_context(Wire(gateway.url))
        wire.send(head("PUT", TARGET, body=b"x") + b"x")
        gateway.process.send_signal(SIGCONT)
        gateway.metric("pannier_requests_total")  # once that is told, it has looked at the PUT too
        return wire

    async with FaultProxy.run(engine.port, sluice, random.Random(1)) as proxy:
        with gateway_over(tmp_path, proxy.port, patience) as gateway, ExitStack() as crowd:
            with Wire(gateway.url) as wire:
                stored = await in_thread(users, partial(wire.ask, "PUT", TARGET, None, b"x"))
            sluice.open.clear()
            await in_thread(users, partial(keep_busy, gateway, crowd))
            for _ in range(LOOKS):
                last = await in_thread(users, partial(stop_and_ask, gateway, crowd))
            told = await in_thread(users, last.answer)
            sluice.open.set()

    assert stored.status == 200
    assert (told.status, told.headers["retry-after"]) == (503, "1")
    assert "event loop late" in told.detail
