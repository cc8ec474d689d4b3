"""Bytes that changed on the disk are noticed by whoever reads them, and by nobody else."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import Damaged, StoreUnavailable
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Listing
from pannier_gateway.stores.file import FileStore
from support.doorstep import serving
from support.stores import (
    NOON,
    ManualClock,
    body_files,
    file_store,
    paths,
    put,
    read,
    streamed,
)
from support.wire import exchange

pytestmark = pytest.mark.slow

BLOCK = 256 * 1024
LARGE = bytes(range(256)) * 4096 + b"the last block is short"  # four blocks and a bit
SMALL = b"a body that lives in the index"
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"
TABLE = len(LARGE)  # where the checksums begin


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    """A closed store with a large object, a small one, and a sound one of either kind."""
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "large", streamed(LARGE))
        await put(store, "small", SMALL)
        await put(store, "sound", b"sound")
    return tmp_path


def flip(root: Path, offset: int) -> None:
    """Turn over one bit of the only body file."""
    (path,) = body_files(root)
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def rot(root: Path, change: str, *values: object) -> None:
    """Change the index behind the back of the store."""
    with closing(sqlite3.connect(root / "index.db")) as index, index:
        assert index.execute(change, values).rowcount == 1


async def damaged(store: FileStore, path: str, span: Span | None = None) -> bool:
    try:
        await read(store, path, span)
    except Damaged:
        return True
    return False


@pytest.mark.parametrize(
    "offset", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 77, 4 * BLOCK - 1, 4 * BLOCK, len(LARGE) - 1]
)
async def test_a_flipped_bit_damages_its_block_and_no_other(root: Path, offset: int) -> None:
    flip(root, offset)
    block = Span(offset // BLOCK * BLOCK, min((offset // BLOCK + 1) * BLOCK, len(LARGE)))

    async with file_store(root, ManualClock()) as store:
        assert await damaged(store, "large")
        assert await damaged(store, "large", Span(offset, offset + 1))
        assert await damaged(store, "large", Span(block.start, block.start + 1))
        assert await damaged(store, "large", Span(block.stop - 1, len(LARGE)))
        for sound in (Span(0, block.start), Span(block.stop, len(LARGE))):
            assert not sound.size or await read(store, "large", sound) == LARGE[slice(*sound)]
        assert await read(store, "sound") == b"sound"


async def test_what_was_read_before_the_damage_is_right(root: Path) -> None:
    flip(root, 2 * BLOCK)

    async with file_store(root, ManualClock()) as store, store.open("large") as reading:
        pieces = reading.chunks(Span(0, len(LARGE)))
        assert bytes(await anext(pieces)) == LARGE[:BLOCK]
        assert bytes(await anext(pieces)) == LARGE[BLOCK : 2 * BLOCK]
        with pytest.raises(Damaged):
            await anext(pieces)


@pytest.mark.parametrize("block", range(5))
async def test_a_rotten_checksum_damages_its_block_and_no_other(root: Path, block: int) -> None:
    flip(root, TABLE + 8 * block + 3)

    async with file_store(root, ManualClock()) as store:
        for number in range(5):
            span = Span(number * BLOCK, min((number + 1) * BLOCK, len(LARGE)))
            assert await damaged(store, "large", span) == (number == block)


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK, 3 * BLOCK, len(LARGE) - 1, TABLE, TABLE + 1, TABLE + 5 * 8 - 1]
)
async def test_a_truncated_file_is_damaged(root: Path, size: int) -> None:
    (path,) = body_files(root)
    path.write_bytes(path.read_bytes()[:size])

    async with file_store(root, ManualClock()) as store:
        assert await damaged(store, "large")
        assert await damaged(store, "large", Span(len(LARGE) - 1, len(LARGE)))


async def test_a_file_in_the_place_of_another_is_damaged(tmp_path: Path) -> None:
    """Each is sound in itself, and of the size that is looked for."""
    async with file_store(tmp_path, ManualClock()) as store:
        await put(store, "one", streamed(LARGE))
        await put(store, "two", streamed(LARGE[::-1]))
        one, two = body_files(tmp_path)
        kept = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(kept)

        assert await damaged(store, "one")
        assert await damaged(store, "two")


async def test_a_missing_file_is_damage_and_the_object_can_be_replaced(root: Path) -> None:
    (path,) = body_files(root)
    path.unlink()

    async with file_store(root, ManualClock()) as store:
        assert await damaged(store, "large")
        assert await paths(store) == ["large", "small", "sound"]
        await put(store, "large", streamed(LARGE))
        assert await read(store, "large") == LARGE


@pytest.mark.parametrize("offset", [0, len(SMALL) // 2, len(SMALL) - 1])
async def test_a_flipped_bit_of_a_small_body_is_noticed(root: Path, offset: int) -> None:
    rotten = bytearray(SMALL)
    rotten[offset] ^= 0x80
    rot(root, "UPDATE bodies SET data = ? WHERE data = ?", bytes(rotten), SMALL)

    async with file_store(root, ManualClock()) as store:
        assert await damaged(store, "small")
        assert await damaged(store, "small", Span(0, 1))
        assert await read(store, "sound") == b"sound"


def at(path: str, change: str) -> tuple[str, str]:
    return f"UPDATE objects SET {change} WHERE path = ?", path


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ("DELETE FROM bodies WHERE body = (SELECT body FROM objects WHERE path = ?)", "small"),
        at("small", "checksum = checksum + 1"),
        at("small", "size = size + 1"),
        at("small", "size = size - 1"),
        at("small", "attributes = x'7b'"),
        at("small", "attributes = x'ff'"),
        at("small", """attributes = '{"content_type":1}'"""),
        at("small", "filed = 1"),
        at("large", "filed = 0"),
        at("large", "size = size + 1"),
        at("large", "size = size - 8"),
        at("large", "attributes = x'7b'"),
    ],
)
async def test_a_rotten_row_is_damage(root: Path, change: str, path: str) -> None:
    rot(root, change, path)

    async with file_store(root, ManualClock()) as store:
        assert await damaged(store, path)
        assert await read(store, "sound") == b"sound"


async def test_a_rotten_row_holds_up_nobody_else_s_writes(root: Path) -> None:
    rot(root, *at("small", "attributes = x'7b'"))

    async with file_store(root, ManualClock()) as store:
        with pytest.raises(Damaged):
            await store.head("small")
        await put(store, "new", b"new")
        await put(store, "small", b"better")
        assert await read(store, "small") == b"better"


@pytest.mark.parametrize(
    "verb",
    [
        lambda store: store.head("large"),
        lambda store: read(store, "large"),
        paths,
        lambda store: store.list(Listing("", delimiter="r")),
        lambda store: store.sweep(10),
        lambda store: put(store, "new", b"x"),
        lambda store: store.delete("large"),
        lambda store: store.touch("large", "etag", 0),
    ],
)
async def test_an_index_that_rots_while_it_is_open_is_told_in_the_store_s_own_errors(
    root: Path, verb: Callable[[FileStore], Awaitable[object]]
) -> None:
    async with file_store(root, ManualClock()) as store:
        index = root / "index.db"
        size = index.stat().st_size
        with index.open("r+b") as file:  # all but the first page, which holds the schema
            file.seek(4096)
            file.write(b"\xa5" * (size - 4096))

        with pytest.raises((Damaged, StoreUnavailable)):
            await verb(store)


# What is kept beside the bytes


CONTENT_TYPE = """attributes = '{"content_type":"text/html"}'"""


@pytest.mark.parametrize(
    "change",
    [
        CONTENT_TYPE,
        "created = created + 1",
        f"expires = {NOON - 1}",
        f"expires = {NOON + 1}",
        "expires = 0",
        "expires = ''",
        "created = 1.5",
        "body = body + 1",
        "body = 'x'",
        "seal = seal + 1",
        "seal = 'x'",
        "path = 'other'",
        "path = x'ff'",
        "path = CAST(x'ff' AS TEXT)",
        "path = x'6f74686572'",
    ],
)
async def test_whatever_rots_beside_the_bytes_is_told_by_lists_and_never_shown(
    root: Path, change: str
) -> None:
    rot(root, *at("small", change))

    async with file_store(root, ManualClock()) as store:
        with pytest.raises(Damaged):
            await paths(store)
        with pytest.raises(Damaged):
            await store.list(Listing("", delimiter="/"))
        if not change.startswith("path"):
            assert await damaged(store, "small")
            with pytest.raises(Damaged):
                await store.head("small")
        assert await read(store, "large") == LARGE


@pytest.mark.parametrize("write", [b"better", None], ids=["replace", "delete"])
async def test_a_list_names_what_has_rotted_and_is_well_again_without_it(
    root: Path, write: bytes | None
) -> None:
    rot(root, *at("small", CONTENT_TYPE))

    async with file_store(root, ManualClock()) as store:
        with pytest.raises(Damaged, match="'small' has rotted: store or delete the object anew"):
            await paths(store)
        assert await paths(store, "large") == ["large"]
        if write is None:
            assert await store.delete("small")
        else:
            await put(store, "small", write)

        assert await paths(store) == ["large", *(["small"] if write else []), "sound"]


async def test_conditions_can_not_be_judged_by_what_has_rotted(root: Path) -> None:
    rot(root, *at("small", CONTENT_TYPE))

    async with file_store(root, ManualClock()) as store:
        for conditions in (Conditions(if_match=("*",)), Conditions(if_none_match=("*",))):
            with pytest.raises(Damaged):
                await put(store, "small", b"x", conditions)
            with pytest.raises(Damaged):
                await store.delete("small", conditions)


@pytest.mark.parametrize("header", [{"if-unmodified-since": "once"}, {"if-modified-since": IMF}])
async def test_what_is_no_condition_of_a_write_lets_it_replace_what_has_rotted(
    root: Path, header: dict[str, str]
) -> None:
    rot(root, *at("small", "path = 'attachments/objects/small'"))

    async with file_store(root, ManualClock()) as store, serving(store) as url:
        target = "/v1/objects/attachments/_/small"
        assert (await asyncio.to_thread(exchange, url, "GET", target)).status == 500
        answer = await asyncio.to_thread(exchange, url, "PUT", target, header, b"x")

        assert answer.status == 200
        assert await read(store, "attachments/objects/small") == b"x"


async def test_moving_a_deadline_does_not_vouch_for_the_rest(root: Path) -> None:
    async with file_store(root, ManualClock()) as store:
        tag = (await store.head("small")).etag
    rot(root, *at("small", CONTENT_TYPE))

    async with file_store(root, ManualClock()) as store:
        with pytest.raises(Damaged):
            await store.touch("small", tag, NOON + 1)
        assert await damaged(store, "small")


async def test_a_deadline_that_rotted_deletes_nothing_and_stops_no_sweep(root: Path) -> None:
    clock = ManualClock()
    async with file_store(root, clock) as store:
        await put(store, "due", b"x", expires=NOON)
    rot(root, *at("small", f"expires = {NOON - 1}"))

    async with file_store(root, clock) as store:
        assert await store.sweep(10) == 1
        assert await store.sweep(10) == 0
        assert await damaged(store, "small")


async def test_what_has_rotted_stops_no_sweep_however_many_there_are(root: Path) -> None:
    clock = ManualClock()
    async with file_store(root, clock) as store:
        for path, expires in (("first", NOON - 9), ("second", NOON - 8), ("third", NOON)):
            await put(store, path, b"x", expires=expires)
    rot(root, *at("first", "path = CAST(x'ff' AS TEXT)"))
    rot(root, *at("second", "created = created + 1"))

    async with file_store(root, clock) as store:
        assert await store.sweep(1) == 1
        assert await store.sweep(1) == 0
        assert not await store.delete("third")


@pytest.mark.parametrize("key", ["x'62ff'", "CAST(x'62ff' AS TEXT)"])
async def test_of_a_key_that_no_request_can_name_is_said_how_to_be_rid_of_it(
    root: Path, key: str
) -> None:
    rot(root, *at("small", f"path = {key}"))
    async with file_store(root, ManualClock()) as store:
        with pytest.raises(
            Damaged, match=r"delete the row with hex\(path\) = '62FF' from `objects`"
        ):
            await paths(store)

    rot(root, "DELETE FROM objects WHERE hex(path) = '62FF'")
    async with file_store(root, ManualClock()) as store:
        assert await paths(store) == ["large", "sound"]


@pytest.mark.parametrize("path", ["large", "sound"])
async def test_a_row_that_rotted_into_another_s_takes_nothing_from_it(
    root: Path, path: str
) -> None:
    with closing(sqlite3.connect(root / "index.db")) as index:
        filed, body = index.execute(
            "SELECT filed, body FROM objects WHERE path = ?", (path,)
        ).fetchone()
        index.execute("DROP INDEX filed")  # which would not let two rows have one file
    rot(root, *at("small", f"filed = {filed}, body = {body}"))

    async with file_store(root, ManualClock()) as store:
        await put(store, "small", b"better")
        await store.delete("small")

        assert await read(store, path) == (LARGE if path == "large" else b"sound")
