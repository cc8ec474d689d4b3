"""The SQLite index: which objects there are, and the bodies small enough to live in it."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType

from pannier_gateway.errors import Damaged, PannierError, StoreFull, StoreUnavailable
from pannier_gateway.stores.base import after_prefix
from pannier_gateway.stores.file.row import Row, as_found, checked, seal_as_found

log = logging.getLogger("pannier.store")

SCHEMA_VERSION = 2
SCHEMA = f"""
BEGIN;
CREATE TABLE objects(
    path TEXT PRIMARY KEY,
    body INTEGER NOT NULL,
    filed INTEGER NOT NULL,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    attributes BLOB NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE bodies(body INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE starts(start INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE INDEX expiring ON objects(expires) WHERE expires IS NOT NULL;
CREATE UNIQUE INDEX filed ON objects(body) WHERE filed;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
SEALED_COLUMNS = "path, body, filed, size, checksum, created, expires, attributes"
COLUMNS = f"{SEALED_COLUMNS}, seal"
BYTES_AS_FOUND = ", ".join(  # of a text that is none any more SQLite hands on nothing
    f"iif(typeof({column}) = 'text', CAST({column} AS BLOB), {column})"
    for column in SEALED_COLUMNS.split(", ")
)
SELECT = f"SELECT {COLUMNS} FROM objects WHERE path = ?"
SELECT_WHOLE = (
    f"SELECT {COLUMNS.removeprefix('path, ')}, data"
    " FROM objects LEFT JOIN bodies USING (body) WHERE path = ?"
)
SEAL_FORMAT_1 = f"""
BEGIN;
ALTER TABLE objects ADD COLUMN seal INTEGER NOT NULL DEFAULT 0;
UPDATE objects SET seal = seal_of({BYTES_AS_FOUND});
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
CACHED_STATEMENTS = 64
MOST_PAGES_MOVED = 2048  # 8 MiB


def connect(path: Path, *, sync: bool) -> sqlite3.Connection:
    """A connection in autocommit mode; whoever holds it uses it from one thread at a time."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS
    )
    connection.text_factory = as_found
    connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
    connection.execute("PRAGMA cache_size = -4096")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("SELECT 1 FROM starts").fetchall()  # all that it needs is open from now on
    return connection


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """The index as it is now, whatever is committed while the block lasts.

    Nothing is written over in the log meanwhile, so that it grows.
    """
    with IndexErrors(), closing(connect(path, sync=False)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM starts").fetchall()  # only a read makes it begin
        yield connection


def prepare(path: Path, after: int = 0) -> int:
    """Create or check the index; the number of this start, above `after` and any before.

    Raises StoreUnavailable.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only in a new file
            connection.execute("PRAGMA journal_mode = WAL")
            demand_format(connection, path)
            connection.execute("DELETE FROM starts")
            connection.execute("INSERT INTO starts VALUES (?)", (after,))
            return int(connection.execute("INSERT INTO starts DEFAULT VALUES").lastrowid or 0)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} can't be used: {error}") from error


def demand_format(connection: sqlite3.Connection, path: Path) -> None:
    """Give a new index its tables, and an old one what it lacks.

    Raises StoreUnavailable for one that a later version made.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(SCHEMA)
    elif version == 1:
        log.info("index brought to another format", extra={"index": str(path)})
        connection.create_function("seal_of", -1, seal_as_found)
        connection.executescript(SEAL_FORMAT_1)
    elif version != SCHEMA_VERSION:
        raise StoreUnavailable(
            f"{path} has format {version}; this version reads format {SCHEMA_VERSION}"
        )


def as_store_error(error: sqlite3.Error) -> PannierError:
    """What SQLite says of a full, rotten or failing index, in the store's own errors."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # Python's own complaints carry none
    if code == sqlite3.SQLITE_FULL:
        return StoreFull()
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Damaged(f"the index is damaged: {error}")
    return StoreUnavailable(f"the index failed: {error}")


class IndexErrors:
    """Inside this block SQLite's errors become the store's own."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise as_store_error(error) from error


def find(connection: sqlite3.Connection, path: str) -> Row | None:
    """Raises Damaged."""
    with IndexErrors():
        found = connection.execute(SELECT, (path,)).fetchone()
    return None if found is None else checked(Row._make(found))


def find_whole(
    connection: sqlite3.Connection, path: str
) -> tuple[Row, bytes | None] | tuple[None, None]:
    """The row, and the body where the index holds it. Raises Damaged."""
    try:
        found = connection.execute(SELECT_WHOLE, (path,)).fetchone()
    except sqlite3.Error as error:
        raise as_store_error(error) from error
    return (None, None) if found is None else (checked(Row._make((path, *found[:-1]))), found[-1])


def scan(connection: sqlite3.Connection, prefix: str, start: str) -> Iterator[Row]:
    """Rows from `start` on that have the prefix, expired or not. Raises Damaged."""
    stop = after_prefix(prefix)
    cursor = connection.execute(
        f"SELECT {COLUMNS} FROM objects WHERE path >= ?"
        f" {'' if stop is None else 'AND path < ?'} ORDER BY path",
        [start] if stop is None else [start, stop],
    )
    return map(checked, map(Row._make, cursor))


def expired(connection: sqlite3.Connection, now: int, limit: int) -> list[tuple[str, int]]:
    """Path and body of objects whose time is over, the longest over first.

    What has rotted is passed over: its time may be another.
    """
    question = f"SELECT {COLUMNS} FROM objects WHERE expires <= ? ORDER BY expires"
    with closing(connection.execute(question, (now,))) as found:
        sound = (row for row in map(Row._make, found) if row.sound)
        return [(row.path, row.body) for row in islice(sound, limit)]


def filed_among(connection: sqlite3.Connection, bodies: Sequence[int]) -> set[int]:
    """Those of `bodies` that an object has in a file."""
    question = "SELECT 1 FROM objects WHERE filed AND body = ?"
    return {body for body in bodies if connection.execute(question, (body,)).fetchone()}


def rows_at(connection: sqlite3.Connection, paths: Sequence[str]) -> dict[str, Row]:
    """What is at these paths, sound or not."""
    marks = ",".join("?" * len(paths))
    rows = connection.execute(f"SELECT {COLUMNS} FROM objects WHERE path IN ({marks})", paths)
    return {row.path: row for row in map(Row._make, rows)}


def write_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    values = ",".join(["(?,?,?,?,?,?,?,?,?)"] * len(rows))
    flat = [value for row in rows for value in row]
    connection.execute(f"INSERT OR REPLACE INTO objects VALUES {values}", flat)


def delete_rows(connection: sqlite3.Connection, paths: Sequence[str]) -> None:
    marks = ",".join("?" * len(paths))
    connection.execute(f"DELETE FROM objects WHERE path IN ({marks})", paths)


def write_bodies(connection: sqlite3.Connection, bodies: Sequence[tuple[int, bytes]]) -> None:
    values = ",".join(["(?,?)"] * len(bodies))
    flat = [value for body in bodies for value in body]
    connection.execute(f"INSERT INTO bodies VALUES {values}", flat)


def emptied(connection: sqlite3.Connection) -> int:
    """Bytes that the index has and does not need."""
    pages, size = (
        connection.execute(f"PRAGMA {asked}").fetchone()[0]
        for asked in ("freelist_count", "page_size")
    )
    return int(pages) * int(size)


def shrink(connection: sqlite3.Connection) -> None:
    """Give the pages that deletes emptied back to the disk, and the log too.

    Only so many at a time: they pass through the log, which must find room meanwhile.
    """
    connection.executescript(  # `execute` would take one step of the first, and one page
        f"PRAGMA incremental_vacuum({MOST_PAGES_MOVED}); PRAGMA wal_checkpoint(TRUNCATE);"
    )


def delete_bodies(connection: sqlite3.Connection, bodies: Sequence[int]) -> None:
    marks = ",".join("?" * len(bodies))
    connection.execute(f"DELETE FROM bodies WHERE body IN ({marks})", bodies)
