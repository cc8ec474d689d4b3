"""A directory deleted, moved or restored under a running store: nothing is taken in that is lost.

What is acknowledged must be where the next start looks for it; and what belongs to a store that was
started there meanwhile must be left alone by the old one.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from pannier_gateway.errors import StoreUnavailable
from pannier_gateway.stores.base import Listing
from pannier_gateway.stores.file import FileStore, place, store
from support.stores import (
    NOON,
    Body,
    ManualClock,
    body_files,
    file_store,
    paths,
    put,
    read,
    streamed,
)

pytestmark = pytest.mark.slow

LARGE = bytes(range(256)) * 1024
RESTART = "replaced or removed while it was in use: put them back or restart the gateway"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def away(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def made_anew(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def index_removed(root: Path) -> None:
    (root / "index.db").unlink()


def index_restored(root: Path) -> None:
    copy = root / "restored.db"
    with (
        closing(sqlite3.connect(root / "index.db")) as live,
        closing(sqlite3.connect(copy)) as restored,
    ):
        live.backup(restored)
    copy.replace(root / "index.db")


def log_removed(root: Path) -> None:
    (root / "index.db-wal").unlink()


def bodies_moved(root: Path) -> None:
    (root / "bodies").rename(root / "old bodies")
    (root / "bodies").mkdir()


async def move_deadline(store: FileStore) -> bool:
    return await store.touch("old", (await store.head("old")).etag, NOON + 1)


LOSSES = [shutil.rmtree, away, made_anew, index_removed, index_restored, log_removed, bodies_moved]
WRITES: dict[str, Callable[[FileStore], Awaitable[object]]] = {
    "small": lambda store: put(store, "new", b"x"),
    "large": lambda store: put(store, "new", streamed(LARGE)),
    "delete": lambda store: store.delete("old"),
    "touch": move_deadline,
}
READS: dict[str, Callable[[FileStore], Awaitable[object]]] = {
    "get": lambda store: read(store, "old"),
    "head": lambda store: store.head("old"),
    "list": lambda store: store.list(Listing("")),
    "sweep": lambda store: store.sweep(1),
}


async def until_refused(work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await work()
        await asyncio.sleep(0)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
async def test_a_write_that_the_next_start_would_not_find_is_not_acknowledged(
    root: Path, loss: Callable[[Path], object], write: str
) -> None:
    async with file_store(root, ManualClock()) as store:
        await put(store, "old", streamed(LARGE))
        loss(root)

        with pytest.raises(StoreUnavailable) as refused:
            await WRITES[write](store)

    assert str(root) not in "".join(map(str, (refused.value, refused.value.__cause__)))


@pytest.mark.parametrize("verb", READS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
async def test_reads_that_may_be_old_end_at_the_next_look(
    root: Path, monkeypatch: pytest.MonkeyPatch, loss: Callable[[Path], object], verb: str
) -> None:
    monkeypatch.setattr(store, "LOOK_SECONDS", 0.001)  # nobody waits a second for each
    async with file_store(root, ManualClock()) as lost:
        await put(lost, "old", b"x")
        loss(root)

        with pytest.raises(StoreUnavailable, match=RESTART):
            await until_refused(lambda: READS[verb](lost))


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_that_is_refused_is_not_carried_out_where_the_files_are_now(
    root: Path, write: str
) -> None:
    async with file_store(root, ManualClock()) as lost:
        await put(lost, "old", streamed(LARGE))
        before = await lost.head("old")
        away(root)
        with pytest.raises(StoreUnavailable, match=RESTART):
            await WRITES[write](lost)

    elsewhere = root.with_name("elsewhere")
    async with file_store(elsewhere, ManualClock()) as found:
        assert await paths(found) == ["old"]
        assert await found.head("old") == before
        assert await read(found, "old") == LARGE


async def test_of_a_body_for_a_store_that_is_lost_nothing_is_read(root: Path) -> None:
    async with file_store(root, ManualClock()) as store:
        away(root)
        assert store.lost

        with pytest.raises(StoreUnavailable, match=RESTART):
            await put(store, "new", Body([AssertionError("it was read")]))


async def test_a_store_shows_that_it_is_lost_and_tells_each_turn_once(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pannier.store")
    async with file_store(root, ManualClock()) as store:
        away(root)
        assert [store.lost, store.lost] == [True, True]
        assert f"files in {root}, lost: " in str(store)

        root.with_name("elsewhere").rename(root)
        assert [store.lost, store.lost] == [False, False]
        assert str(store) == f"files in {root}"

    told = ["files replaced or removed under a running store", "files back in their place"]
    assert [each for each in caplog.messages if each.startswith("files")] == told


@pytest.mark.parametrize(
    ("loss", "ready"), [(index_restored, True), (bodies_moved, True), (index_removed, False)]
)
async def test_other_files_in_its_place_may_be_opened_once_nobody_writes_them_any_more(
    root: Path, monkeypatch: pytest.MonkeyPatch, loss: Callable[[Path], object], *, ready: bool
) -> None:
    async with file_store(root, ManualClock()) as store:
        monkeypatch.setattr(place, "REST_SECONDS", 0)
        assert not store.replaced
        loss(root)
        assert store.lost
        assert store.replaced == ready

        monkeypatch.setattr(place, "REST_SECONDS", 3600)
        assert not store.replaced


async def test_a_store_whose_directory_comes_back_goes_on(root: Path) -> None:
    async with file_store(root, ManualClock()) as store:
        await put(store, "old", b"x")
        away(root)
        with pytest.raises(StoreUnavailable, match=RESTART):
            await put(store, "new", b"x")
        root.with_name("elsewhere").rename(root)

        await put(store, "new", b"y")
        assert await read(store, "old") == b"x"

    async with file_store(root, ManualClock()) as store:
        assert await read(store, "new") == b"y"


async def test_what_an_old_store_does_in_its_end_leaves_its_successor_alone(root: Path) -> None:
    """Their bodies have the same numbers, and their files the same names."""
    async with AsyncExitStack() as leaving, AsyncExitStack() as staying:
        old = await leaving.enter_async_context(file_store(root, ManualClock()))
        await put(old, "k", streamed(LARGE))
        (file,) = body_files(root)
        shutil.rmtree(root)
        new = await staying.enter_async_context(file_store(root, ManualClock()))
        await put(new, "k", streamed(LARGE[::-1]))
        assert body_files(root) == [file]

        for change in (old.delete("k"), put(old, "l", streamed(LARGE)), put(old, "k", b"x")):
            with pytest.raises(StoreUnavailable):
                await change
        await leaving.aclose()
        await put(new, "small", b"x")

        assert body_files(root) == [file]
        assert await read(new, "k") == LARGE[::-1]

    async with file_store(root, ManualClock()) as new:
        assert await paths(new) == ["k", "small"]
