"""What a file store finds when it starts: another process, another format, orphans, its objects."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from pannier_gateway.errors import Damaged, StoreUnavailable
from pannier_gateway.stores.base import Attributes, Buffer
from pannier_gateway.stores.file import FileStore, index
from pannier_gateway.stores.file.body import SHARDS
from support.gateway import QUICKSTART, running_gateway
from support.stores import (
    NOON,
    Body,
    ManualClock,
    body_files,
    draft,
    file_store,
    paths,
    put,
    read,
    strays,
    streamed,
)

LARGE = bytes(range(256)) * 1024


async def started(root: Path) -> None:
    async with file_store(root, ManualClock()):
        pass


# Another process


@pytest.mark.slow
def test_a_second_gateway_on_the_same_directory_is_refused_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pannier_gateway", "--log-level", "error"]
    command += ["--manifests", str(QUICKSTART), "--data-dir", str(tmp_path)]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]

    with running_gateway(tmp_path) as first:
        second = subprocess.run(command, capture_output=True, text=True, check=False)

        assert second.returncode == 2
        (line,) = second.stderr.splitlines()
        assert f"{tmp_path}/" in line
        assert f"(pid {first.process.pid})" in line
        assert first.process.poll() is None


def test_a_directory_in_use_is_refused_and_free_again_when_its_holder_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreUnavailable, match=rf"{tmp_path}.*pid {holder.pid}\b.*stop it"):
            asyncio.run(started(tmp_path))
        holder.kill()

    asyncio.run(started(tmp_path))


HOLD = """
import sys
from pathlib import Path
from pannier_gateway.stores.file.lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_a_store_may_not_be_opened_twice_in_one_process_either(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()):
        with pytest.raises(StoreUnavailable, match="in use"):
            await started(tmp_path)

    await started(tmp_path)


# Another format


async def test_the_format_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", b"x")
    with closing(sqlite3.connect(tmp_path / "index.db")) as index:
        (version,) = index.execute("PRAGMA user_version").fetchone()
        index.execute(f"PRAGMA user_version = {version + 1}")

    with pytest.raises(
        StoreUnavailable, match=rf"has format {version + 1}.*reads format {version}"
    ):
        await started(tmp_path)

    with closing(sqlite3.connect(tmp_path / "index.db")) as index:
        index.execute(f"PRAGMA user_version = {version}")
    async with file_store(tmp_path, ManualClock()) as store:
        assert await read(store, "k") == b"x"


async def test_an_index_without_seals_gets_them_and_keeps_its_objects(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        for path, expires in (("large", None), ("small", NOON + 9), ("rotten", None)):
            body = streamed(LARGE) if path == "large" else b"small"
            await put(store, path, body, expires=expires)
        before = [await store.head(path) for path in ("large", "small")]
    back_to_format_1(tmp_path, "UPDATE objects SET created = 'x' WHERE path = 'rotten'")

    for _ in range(2):
        async with file_store(tmp_path, ManualClock()) as store:
            assert [await store.head(path) for path in ("large", "small")] == before
            assert await read(store, "large") == LARGE
            with pytest.raises(Damaged):
                await store.head("rotten")
    with closing(sqlite3.connect(tmp_path / "index.db")) as index, index:
        index.execute("UPDATE objects SET created = created + 1")
    async with file_store(tmp_path, ManualClock()) as store:
        with pytest.raises(Damaged):
            await store.head("small")


@pytest.mark.parametrize("column", ["path", "body", "size", "created", "expires", "attributes"])
async def test_a_row_without_seal_that_is_no_text_any_more_keeps_the_others_from_nothing(
    tmp_path: Path, column: str
) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "rotten", b"x")
        await put(store, "sound", b"y")
    rot = f"UPDATE objects SET {column} = CAST(x'ff' AS TEXT) WHERE path = 'rotten'"
    back_to_format_1(tmp_path, rot)

    async with file_store(tmp_path, ManualClock()) as store:
        assert await read(store, "sound") == b"y"
        with pytest.raises(Damaged):
            await paths(store)


async def test_what_can_not_be_read_beside_the_bytes_is_damage_under_a_seal_too(
    tmp_path: Path,
) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", b"x")
    back_to_format_1(tmp_path, "UPDATE objects SET attributes = x'7b'")

    async with file_store(tmp_path, ManualClock()) as store:
        with pytest.raises(Damaged):
            await store.head("k")


def back_to_format_1(root: Path, change: str) -> None:
    """Make the index what it was before rows had seals, and change something."""
    with closing(sqlite3.connect(root / "index.db")) as index:
        index.execute("ALTER TABLE objects DROP COLUMN seal")
        index.execute("PRAGMA user_version = 1")
        index.execute(change)
        index.commit()


async def test_an_index_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"something else" * 1000)

    with pytest.raises(StoreUnavailable, match=rf"{tmp_path / 'index.db'} can't be used"):
        await started(tmp_path)


async def test_a_directory_that_can_not_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(OSError, match="file"):
        await started(tmp_path / "file" / "data")


# Its objects


async def test_a_closed_store_opens_with_everything_it_had(tmp_path: Path) -> None:
    attributes = Attributes(content_type="text/plain", policy="ttl", after=7, custom={"é": "😀"})
    async with file_store(tmp_path, ManualClock()) as store:
        for key, body in (("small", b"small"), ("large", LARGE), ("empty", b""), ("gone", LARGE)):
            await store.put(key, streamed(body), draft(expires=NOON + 9, attributes=attributes))
        await store.delete("gone")
        before = {key: await store.head(key) for key in await paths(store)}
        await store.touch("small", before["small"].etag, NOON + 99)

    async with file_store(tmp_path, ManualClock(), "full") as store:
        assert await paths(store) == ["empty", "large", "small"]
        assert await store.head("large") == before["large"]
        assert (await store.head("small")).expires == NOON + 99
        assert await read(store, "small") == b"small"
        assert await read(store, "large") == LARGE
        assert await read(store, "empty") == b""
        assert (await put(store, "small", b"small")).etag != before["small"].etag


async def test_versions_never_repeat_however_often_a_store_starts(tmp_path: Path) -> None:
    tags = []
    for _ in range(5):
        async with file_store(tmp_path, ManualClock()) as store:
            tags += [(await put(store, "k", b"same")).etag for _ in range(3)]
            await store.delete("k")

    assert len(set(tags)) == 15


async def test_what_was_submitted_before_the_end_is_committed(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        puts = [asyncio.create_task(put(store, f"{i}", b"x")) for i in range(300)]
        await asyncio.sleep(0)

    await asyncio.gather(*puts)
    async with file_store(tmp_path, ManualClock()) as store:
        assert len(await paths(store)) == 300


# Orphans


def orphan(root: Path, body: int) -> Path:
    """A body file that no object names, as a killed process leaves it."""
    path = root / "bodies" / f"{body % SHARDS:02x}" / f"{body:016x}"
    path.write_bytes(b"half a bod")
    return path


class Heard(logging.Handler):
    """Sets `event` when the store says that it has removed orphans."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "orphans removed":
            self.event.set()


@asynccontextmanager
async def tidied(root: Path) -> AsyncIterator[FileStore]:
    """A store that has removed the orphans which it found when it started."""
    log, heard = logging.getLogger("pannier.store"), Heard()
    log.addHandler(heard)
    log.setLevel(logging.INFO)
    try:
        async with file_store(root, ManualClock()) as store:
            await heard.event.wait()
            yield store
    finally:
        log.setLevel(logging.NOTSET)
        log.removeHandler(heard)


async def test_a_start_removes_orphans_by_itself_and_keeps_objects(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", streamed(LARGE))
    (kept,) = body_files(tmp_path)
    newest = int(kept.name, 16)

    for body in range(newest + 1, newest + 600):
        orphan(tmp_path, body)

    async with tidied(tmp_path) as store:
        assert body_files(tmp_path) == [kept]
        assert await store.collect_orphans() == 0
        assert await read(store, "k") == LARGE


async def test_collecting_orphans_spares_what_this_start_is_writing(tmp_path: Path) -> None:
    half, go_on = asyncio.Event(), asyncio.Event()

    class Paused(Body):
        async def __aiter__(self) -> AsyncIterator[Buffer]:
            async for piece in super().__aiter__():
                yield piece
                half.set()
                await go_on.wait()

    async with file_store(tmp_path, ManualClock()) as store:
        writing = asyncio.create_task(put(store, "k", Paused([LARGE * 5, LARGE])))
        await half.wait()
        assert await store.collect_orphans() == 0
        go_on.set()
        await writing

        assert await store.collect_orphans() == 0
        assert await read(store, "k") == LARGE * 6


async def test_a_file_that_is_no_body_is_left_alone_and_stops_nothing(tmp_path: Path) -> None:
    await started(tmp_path)
    strangers = [tmp_path / "bodies" / "00" / name for name in (".nfs0001", "README", "0x10", "-1")]
    for path in strangers:
        path.write_text("not ours")

    left = [orphan(tmp_path, body) for body in range(1, 9)]

    async with tidied(tmp_path):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in strangers)


async def test_an_object_replaced_or_deleted_while_orphans_are_collected_is_no_harm(
    tmp_path: Path,
) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        for i in range(40):
            await put(store, f"{i:02d}", streamed(LARGE))

    async with file_store(tmp_path, ManualClock()) as store:
        changes = [
            put(store, f"{i:02d}", streamed(LARGE[i:])) if i % 2 else store.delete(f"{i:02d}")
            for i in range(40)
        ]
        collecting = asyncio.gather(store.collect_orphans(), store.collect_orphans())
        await asyncio.gather(*changes)

        assert sum(await collecting) == 0  # what they took the names from is no orphan
        assert strays(tmp_path) == set()
        for i in range(1, 40, 2):
            assert await read(store, f"{i:02d}") == LARGE[i:]


async def test_what_is_deleted_while_orphans_are_looked_for_was_none(tmp_path: Path) -> None:
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", streamed(LARGE))
        body = int(body_files(tmp_path)[0].name, 16)

        with index.snapshot(tmp_path / "index.db") as named:
            await store.delete("k")
            assert index.filed_among(named, [body]) == {body}


# An index older than the files beside it


async def test_a_restored_index_hands_out_no_number_that_a_file_has(tmp_path: Path) -> None:
    await started(tmp_path)
    old = (tmp_path / "index.db").read_bytes()
    for i in range(3):
        async with file_store(tmp_path, ManualClock()) as store:
            await put(store, f"{i}", streamed(LARGE))
    newest = max(int(path.name, 16) for path in body_files(tmp_path))
    (tmp_path / "index.db").write_bytes(old)

    async with file_store(tmp_path, ManualClock()) as store:
        before = set(body_files(tmp_path))
        await asyncio.gather(*(put(store, f"new {i}", streamed(LARGE)) for i in range(4)))
        new = set(body_files(tmp_path)) - before

        assert len(new) == 4
        assert min(int(path.name, 16) for path in new) > newest
        assert [await read(store, path) == LARGE for path in await paths(store)] == [True] * 4


async def test_the_files_that_a_restored_index_does_not_name_are_orphans(tmp_path: Path) -> None:
    await started(tmp_path)
    old = (tmp_path / "index.db").read_bytes()
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "k", streamed(LARGE))
    (tmp_path / "index.db").write_bytes(old)

    async with tidied(tmp_path) as store:
        assert body_files(tmp_path) == []
        assert await paths(store) == []
