"""How bodies are made from what is stored: in turns, with little read, and in bounded memory."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from functools import partial

import pytest
import zstandard

from pannier_gateway.codec import Compressing, MemoryBudget, SeekTables
from pannier_gateway.codec import budget as budgeting
from pannier_gateway.codec.workers import Workers
from pannier_gateway.downloads import SENDING, body_of
from pannier_gateway.errors import Damaged, MemoryFull
from pannier_gateway.ranges import RangeSpec
from pannier_gateway.representation import Ask, answer
from pannier_gateway.stores.base import Attributes, Draft, Reading, Store
from pannier_gateway.stores.memory import MemoryStore
from support.doorstep import serving
from support.hostile import Pieces, Wrapped
from support.stores import Body
from support.wire import Wire, exchange, head
from support.zstd_bodies import (
    BLOCK,
    LAST,
    arriving,
    block,
    bomb,
    chunks,
    decoded,
    frame,
    gathered,
    streamed,
    text,
)

MIB = 1 << 20
PATH = "/v1/objects/attachments/_/k"
BY_CLIENT = {"content-encoding": "zstd"}
LARGE = text(4 * MIB)


@pytest.fixture
def workers() -> Iterator[Workers]:
    with ThreadPoolExecutor(2) as threads:
        yield Workers(threads, MemoryBudget())


class Watched(Wrapped):
    """Tells where reads began."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.starts: list[int] = []

    async def outgoing(self, pieces: Pieces, start: int) -> Pieces:
        self.starts.append(start)
        async for piece in pieces:
            yield piece


async def keep(store: Store, body: bytes, size: int, *, by_client: bool = True) -> None:
    """Store zstd bytes that decode to `size` bytes."""
    attributes = Attributes(encoding="zstd", by_client=by_client, original_size=size)
    await store.put("k", Body([body]), lambda: Draft(0, None, attributes))


async def read(reading: Reading, ask: Ask, workers: Workers, tables: SeekTables) -> bytes:
    body = await body_of(reading, answer(reading.record, ask), workers, tables)
    assert not isinstance(body, bytes | memoryview)
    return b"".join([bytes(piece) async for piece in body])


async def test_many_small_frames_are_not_decoded_in_one_turn(workers: Workers) -> None:
    store, frames = MemoryStore(), [zstandard.compress(b"%d" % n) for n in range(5000)]
    await keep(store, b"".join(frames), len(decoded(b"".join(frames))))

    async with store.open("k") as reading:
        body = await read(reading, Ask(), workers, SeekTables())

    assert body == b"".join(b"%d" % n for n in range(5000))


async def test_ranges_of_one_version_read_its_table_once(workers: Workers) -> None:
    store, tables = Watched(MemoryStore()), SeekTables()
    stored = await gathered(Compressing(arriving(chunks(LARGE, MIB)), 3, workers.executor))
    for version in range(2):
        await keep(store, stored, len(LARGE), by_client=False)
        for first in (0, 3 * MIB, 2 * MIB):
            async with store.open("k") as reading:
                wanted = Ask(range=RangeSpec(first, first + 99))
                assert await read(reading, wanted, workers, tables) == LARGE[first : first + 100]

        assert len(store.starts) == (version + 1) * 5  # the end, the table, and frames for each


async def test_damage_at_the_beginning_is_told_before_there_is_a_body(workers: Workers) -> None:
    store = MemoryStore()
    await keep(store, b"no zstd any more", len(LARGE))

    async with store.open("k") as reading:
        with pytest.raises(Damaged):
            await body_of(reading, answer(reading.record, Ask()), workers, SeekTables())


# Readers that take their time


async def test_a_body_that_nobody_reads_after_all_gives_back_its_room(workers: Workers) -> None:
    store = MemoryStore()
    await keep(store, bomb(64 * MIB), 64 * MIB)
    async with store.open("k") as reading:
        found = answer(reading.record, Ask())
        body = await body_of(reading, found, workers, SeekTables())
        assert not isinstance(body, bytes | memoryview)
        assert workers.budget.used > 0

        await body.aclose()

    assert workers.budget.used == 0


async def test_what_never_finds_room_fails_before_there_is_a_body(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.01)  # nobody waits seconds for a test
    store = MemoryStore()
    await keep(store, bomb(64 * MIB, window_log=23), 64 * MIB)
    async with AsyncExitStack() as others, store.open("k") as reading:
        start = partial(body_of, reading, answer(reading.record, Ask()), workers, SeekTables())
        for _ in range(4):  # of 9 MiB and some, in three quarters of 56
            body = await start()
            assert not isinstance(body, bytes | memoryview)
            await others.enter_async_context(aclosing(body))

        with pytest.raises(MemoryFull):
            await start()

    assert workers.budget.used == 0


@contextmanager
def stalled_readers(url: str) -> Iterator[None]:
    """Of one object, of which each has got the beginning."""
    with ExitStack() as stack:
        for _ in range(4):
            reader = stack.enter_context(Wire(url))
            reader.send(head("GET", PATH))
            assert reader.sock.recv(12) == b"HTTP/1.1 200"
        yield


async def test_stalled_readers_of_large_windows_are_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.1)  # nobody waits seconds for a test
    large, ordinary = bomb(64 * MIB, window_log=23), streamed(LARGE)
    async with serving(MemoryStore(), defaults={"compression": "None"}) as url:

        def stall() -> None:
            for path, body in ((PATH, large), (PATH + "ordinary", ordinary)):
                assert exchange(url, "PUT", path, BY_CLIENT, body).status == 200
            with stalled_readers(url):
                refused = exchange(url, "GET", PATH)
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
                assert "accept-encoding: zstd" in refused.detail
                assert exchange(url, "GET", PATH, {"accept-encoding": "zstd"}).body == large
                assert exchange(url, "GET", PATH + "ordinary").body == LARGE

        await asyncio.to_thread(stall)


async def test_stalled_readers_cost_uploads_the_size_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.1)  # nobody waits seconds for a test
    plain = [block(BLOCK << 3, LARGE[:BLOCK])] * 16
    body = frame(*plain, block(LAST, b""), window_log=23)
    async with serving(MemoryStore(), defaults={"compression": "None"}) as url:

        def stall() -> None:
            large = bomb(64 * MIB, window_log=23)
            assert exchange(url, "PUT", PATH, BY_CLIENT, large).status == 200
            with stalled_readers(url):
                assert exchange(url, "PUT", PATH + "2", BY_CLIENT, body).status == 200

            found = exchange(url, "GET", PATH + "2")
            assert found.body == LARGE[:BLOCK] * 16
            assert "x-pannier-original-size" not in found.headers

        await asyncio.to_thread(stall)


async def test_who_waits_for_an_ordinary_window_has_read_nothing(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgeting, "WAIT_SECONDS", 0.01)  # nobody waits seconds for a test
    store = Watched(MemoryStore())
    await keep(store, streamed(LARGE), len(LARGE))
    with ExitStack() as others:
        for size in (42, 3, 3):  # all but 1 MiB of what ordinary readers get of 56
            await others.enter_context(workers.budget.lease()).hold(size * MIB)
        async with store.open("k") as reading:
            with pytest.raises(MemoryFull):
                await read(reading, Ask(), workers, SeekTables())

    assert store.starts == []


async def test_what_goes_out_as_it_is_stored_takes_room(workers: Workers) -> None:
    store = Wrapped(MemoryStore())  # whose bytes are not at hand
    await store.put("k", Body([LARGE]), lambda: Draft(0, None, Attributes()))
    async with store.open("k") as reading:
        body = await body_of(reading, answer(reading.record, Ask()), workers, SeekTables())
        assert not isinstance(body, bytes | memoryview)
        held = workers.budget.used
        assert b"".join([bytes(piece) async for piece in body]) == LARGE

    assert (held, workers.budget.used) == (SENDING, 0)


async def test_a_small_body_that_decodes_to_much_takes_room(workers: Workers) -> None:
    store, size = MemoryStore(), 200_000
    await keep(store, zstandard.compress(LARGE[:size]), size)
    async with store.open("k") as reading:
        body = await body_of(reading, answer(reading.record, Ask()), workers, SeekTables())
        assert not isinstance(body, bytes | memoryview)
        held = workers.budget.used
        assert b"".join([bytes(piece) async for piece in body]) == LARGE[:size]

    assert (held, workers.budget.used) == (size, 0)
