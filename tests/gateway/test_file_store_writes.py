"""How the file store writes: what shares a commit, what is forced to disk when, what is left."""

import asyncio
import errno
import os
import shutil
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import (
    Damaged,
    ObjectNotFound,
    PreconditionFailed,
    StoreFull,
    StoreUnavailable,
    TooLarge,
)
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.file import FileStore, index
from pannier_gateway.stores.file.body import as_store_error
from support.stores import (
    WORKERS,
    Body,
    ManualClock,
    body_files,
    file_store,
    paths,
    put,
    read,
    strays,
    streamed,
)

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 1024


def counted(root: Path, question: str) -> int:
    with closing(sqlite3.connect(root / "index.db")) as connection:
        return int(connection.execute(question).fetchone()[0])


def small_bodies(root: Path) -> int:
    return counted(root, "SELECT count(*) FROM bodies")


# What shares a commit


def commits(root: Path) -> int:
    """How many transactions the write-ahead log holds.

    A frame that ends a transaction carries the size of the database after it, any other a zero; a
    frame belongs to the log if it repeats the salt in the log's head (SQLite, "WAL-mode file
    format").
    """
    log = (root / "index.db-wal").read_bytes()
    (page_size,) = struct.unpack_from(">I", log, 8)
    frames = range(32, len(log), 24 + page_size)
    return sum(
        struct.unpack_from(">I", log, frame + 4) != (0,)
        and log[frame + 8 : frame + 16] == log[16:24]
        for frame in frames
    )


async def test_concurrent_writes_share_a_commit(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock(), "full") as store:
        for i in range(5):
            await put(store, f"in turn/{i}", b"x")
        in_turn = commits(tmp_path)
        await asyncio.gather(*(put(store, f"at once/{i}", b"x" * 4096) for i in range(200)))
        await asyncio.gather(*(store.delete(f"at once/{i}") for i in range(100)))

        assert in_turn >= 5
        assert commits(tmp_path) - in_turn <= 6
        assert len(await paths(store)) == 105


async def test_many_changes_of_one_key_in_one_commit_come_to_the_last(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", streamed(LARGE))
        changes: list[asyncio.Future[object]] = [
            asyncio.ensure_future(change)
            for i in range(50)
            for change in (put(store, "k", b"%d" % i), store.delete("k"), put(store, "k", b"last"))
        ]
        await asyncio.gather(*changes)

        assert await read(store, "k") == b"last"
        assert small_bodies(tmp_path) == 1
        assert body_files(tmp_path) == []


async def test_each_change_of_a_shared_commit_has_its_own_verdict(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        old = await put(store, "k", b"old")
        create = Conditions(if_none_match=("*",))

        verdicts = await asyncio.gather(
            put(store, "k", b"a", create),
            put(store, "k", b"b", Conditions(if_match=(old.etag,))),
            put(store, "k", b"c", Conditions(if_match=(old.etag,))),
            store.delete("l"),
            put(store, "l", b"d", create),
            store.delete("l"),
            return_exceptions=True,
        )

        assert await paths(store) == ["k"]
        assert await read(store, "k") == b"b"
    a, b, c, none, d, deleted = verdicts
    assert isinstance(a, PreconditionFailed)
    assert isinstance(c, PreconditionFailed)
    assert not isinstance(b, BaseException)
    assert not isinstance(d, BaseException)
    assert (none, deleted) == (False, True)


async def test_more_changes_than_a_commit_takes_are_all_made(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await asyncio.gather(*(put(store, f"{i:04d}", b"%d" % i) for i in range(1500)))

        assert await paths(store) == [f"{i:04d}" for i in range(1500)]


# What is forced to disk


class Synced:
    """Stands in for os.fsync, and does it; notes what was synced and what the index knew then.

    A stand-in, because a file system tells nobody what it has on disk; SQLite's own syncs are made
    in C and not seen here.
    """

    def __init__(self, root: Path) -> None:
        self.noted: list[tuple[str, int]] = []
        self._root = root
        self._sync = os.fsync

    def __call__(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        self._sync(fd)
        kind = "folder" if path.is_dir() else "body"
        self.noted.append((kind, counted(self._root, "SELECT count(*) FROM objects")))


async def test_a_durable_body_and_its_name_are_on_disk_before_the_index_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with file_store(tmp_path, ManualClock(), "full") as store:
        synced = Synced(tmp_path)
        monkeypatch.setattr(os, "fsync", synced)
        await put(store, "k", streamed(LARGE))

    assert synced.noted == [("body", 0), ("folder", 0)]


async def test_relaxed_durability_waits_for_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(tmp_path)
    monkeypatch.setattr(os, "fsync", synced)
    async with file_store(tmp_path, ManualClock(), "relaxed") as store:
        await put(store, "k", streamed(LARGE))

    assert synced.noted == []


@pytest.mark.parametrize(("sync", "mode"), [(True, 2), (False, 1)])
async def test_the_index_itself_is_as_durable_as_asked_for(
    tmp_path: Path, sync: bool, mode: int
) -> None:
    index.prepare(tmp_path / "index.db")

    with closing(index.connect(tmp_path / "index.db", sync=sync)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (mode,)


# What is left


@pytest.mark.parametrize("size", [1000, len(LARGE)], ids=["small", "large"])
async def test_what_is_replaced_deleted_or_swept_leaves_nothing(tmp_path: Path, size: int) -> None:
    clock = ManualClock()
    async with file_store(tmp_path, clock) as store:
        for key in ("replaced by small", "replaced by large", "deleted", "swept"):
            await put(store, key, LARGE[:size], expires=clock.now + 1)
        await put(store, "replaced by small", b"x")
        await put(store, "replaced by large", streamed(LARGE))
        await store.delete("deleted")
        clock.advance(1)
        await store.sweep(10)

        assert await paths(store) == ["replaced by large", "replaced by small"]
        assert len(body_files(tmp_path)) == 1
        assert small_bodies(tmp_path) == 1
        assert strays(tmp_path) == set()


class Tripwire(ThreadPoolExecutor):
    """Worker threads; `trip` is called as soon as the `at`-th piece of work is given to them."""

    def __init__(self) -> None:
        super().__init__(WORKERS)
        self.seen = 0
        self.at = 0
        self.trip: Callable[[], object] = int

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        self.seen += 1
        running = super().submit(fn, *args, **named)
        if self.seen == self.at:
            self.trip()
        return running


async def cut_off(store: FileStore, pool: Tripwire, at: int, times: int) -> bool:
    """Put a large body, cancelled so often at the `at`-th trip to a thread; False: too late."""
    loop = asyncio.get_running_loop()
    putting = asyncio.create_task(put(store, "k", streamed(LARGE * 10, MIB)))

    def cancel(left: int) -> None:
        putting.cancel()
        if left > 1:
            loop.call_soon(cancel, left - 1)

    pool.seen, pool.at, pool.trip = 0, at, lambda: loop.call_soon(cancel, times)
    await asyncio.wait([putting])
    return putting.cancelled()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_put_cancelled_while_a_thread_writes_leaves_no_file(
    tmp_path: Path, times: int
) -> None:
    with Tripwire() as pool:
        async with file_store(tmp_path, ManualClock(), pool=pool) as store:
            await store.collect_orphans()
            at = 1
            while await cut_off(store, pool, at, times):
                assert await paths(store) == []
                assert body_files(tmp_path) == []
                at += 1

            assert at > 3
            assert await read(store, "k") == LARGE * 10


async def test_a_put_cancelled_while_it_is_committed_is_there_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    """The commit can't be called back; it must not be half of one."""
    async with file_store(tmp_path, ManualClock(), "full") as store:
        puts = [
            asyncio.create_task(put(store, f"{i:02d}", streamed(LARGE) if i % 4 == 0 else b"small"))
            for i in range(40)
        ]
        await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
        for each in puts:
            each.cancel()
        await asyncio.wait(puts)
        await put(store, "later", b"")  # commits come in turn: this one is the last

        for key in await paths(store, limit=7):
            assert await read(store, key) in (LARGE, b"small", b"")
        assert strays(tmp_path) == set()


async def test_nobody_waits_for_the_removal_of_a_file_but_whose_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the disk, which takes its time over a large file: as long as it is told to."""
    go_on, unlink = Event(), os.unlink

    def unlink_slowly(path: str, *, dir_fd: int) -> None:
        assert go_on.wait(30)
        unlink(path, dir_fd=dir_fd)

    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "deleted", streamed(LARGE))
        await put(store, "replaced", streamed(LARGE))
        monkeypatch.setattr(os, "unlink", unlink_slowly)
        slow = [
            asyncio.create_task(store.delete("deleted")),
            asyncio.create_task(put(store, "replaced", b"y")),
        ]
        await asyncio.gather(*(put(store, f"{i}", b"x") for i in range(3)))
        await store.delete("0")

        assert await paths(store) == ["1", "2", "replaced"]
        assert not any(each.done() for each in slow)
        go_on.set()
        await asyncio.gather(*slow)
        assert body_files(tmp_path) == []


async def test_a_store_ends_when_the_files_that_nobody_names_are_gone(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        for i in range(20):
            await put(store, f"{i}", streamed(LARGE))
        deleting = [asyncio.create_task(store.delete(f"{i}")) for i in range(20)]
        await asyncio.sleep(0)

    assert body_files(tmp_path) == []
    assert await asyncio.gather(*deleting) == [True] * 20


async def test_a_store_that_has_ended_takes_no_more(tmp_path: Path) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        async with file_store(tmp_path, ManualClock(), pool=pool) as store:
            await put(store, "k", b"x")

        for late in (put(store, "k", b"y"), store.delete("k"), store.head("k"), paths(store)):
            with pytest.raises(StoreUnavailable):
                await late


def held_open(root: Path) -> set[Path]:
    """The body files that this process has open."""
    links = (Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
    return {link.readlink() for link in links if link.is_symlink()} & set(body_files(root))


async def test_open_files_are_closed_again(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", streamed(LARGE))
        await put(store, "rotten", streamed(LARGE))
        with closing(sqlite3.connect(tmp_path / "index.db")) as connection, connection:
            connection.execute("UPDATE objects SET attributes = x'00' WHERE path = 'rotten'")

        async with store.open("k"):
            assert held_open(tmp_path) != set()
        for _ in range(20):
            await read(store, "k")
            await put(store, "k", streamed(LARGE))
            with pytest.raises(Damaged):
                await read(store, "rotten")
            with pytest.raises(ObjectNotFound):
                await read(store, "absent")

        assert held_open(tmp_path) == set()


# What fails


async def test_a_body_that_can_not_be_taken_back_does_not_hide_why_it_should_be(
    tmp_path: Path,
) -> None:
    class Vanishing(Body):
        async def __aiter__(self) -> AsyncIterator[Buffer]:
            yield LARGE
            (file,) = body_files(tmp_path)
            file.unlink()
            raise TooLarge("the real reason")

    async with file_store(tmp_path, ManualClock()) as store:
        with pytest.raises(TooLarge, match="the real reason"):
            await put(store, "k", Vanishing([]))


async def test_what_a_failing_disk_is_called_names_no_path_of_the_machine(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", streamed(LARGE))
        shutil.rmtree(tmp_path / "bodies")
        (tmp_path / "bodies").mkdir()

        with pytest.raises(StoreUnavailable) as refused:
            await put(store, "l", streamed(LARGE))
        with pytest.raises(Damaged) as missing:
            await read(store, "k")

    told = [refused.value, refused.value.__cause__, missing.value, missing.value.__cause__]
    assert str(tmp_path) not in "".join(map(str, told))


async def test_a_commit_that_fails_is_told_to_all_and_the_next_goes_on(tmp_path: Path) -> None:
    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "before", b"x")
        rename("bodies", "hidden")
        failed = await asyncio.gather(
            *(put(store, f"{i}", b"x") for i in range(10)), return_exceptions=True
        )
        rename("hidden", "bodies")
        await put(store, "after", b"x")

        assert all(isinstance(each, StoreUnavailable) for each in failed)
        assert await paths(store) == ["after", "before"]


async def test_a_change_that_can_not_be_made_costs_the_others_of_its_commit_nothing(
    tmp_path: Path,
) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "rotten", b"x")
        with closing(sqlite3.connect(tmp_path / "index.db")) as connection, connection:
            connection.execute("UPDATE objects SET attributes = x'00'")

        refused, stored = await asyncio.gather(
            put(store, "rotten", b"y", Conditions(if_match=("tag",))),
            put(store, "sound", b"x"),
            return_exceptions=True,
        )

        assert isinstance(refused, Damaged)
        assert await store.head("sound") == stored
        assert await read(store, "sound") == b"x"
        with pytest.raises(Damaged):  # as it was: nothing took its place
            await read(store, "rotten")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.EIO, StoreUnavailable),
        (errno.EROFS, StoreUnavailable),
    ],
)
def test_what_the_disk_says_in_the_store_s_own_errors(number: int, kind: type) -> None:
    assert isinstance(as_store_error(OSError(number, os.strerror(number))), kind)


def test_a_full_index_is_a_full_store(tmp_path: Path) -> None:
    index.prepare(tmp_path / "index.db")
    with closing(index.connect(tmp_path / "index.db", sync=False)) as connection:
        connection.execute("PRAGMA max_page_count = 1")

        with pytest.raises(sqlite3.OperationalError) as full:
            index.write_bodies(connection, [(1, b"x" * MIB)])

    assert isinstance(index.as_store_error(full.value), StoreFull)
