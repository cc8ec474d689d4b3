"""The floor: what a bare aiohttp handler over one SQLite file does, before we add anything.

No protocol, no policy, no metadata: a path and its bytes. It is tuned as well as we know: uvloop,
the low-level `web.Server` with no router, one row per object, a SELECT on the loop for GET, and for
PUT one writer thread that commits what one turn of the loop has gathered (WAL, synchronous=FULL: an
answered PUT survives power loss). `--application` puts aiohttp's `web.Application` and its router
in front.
"""

import argparse
import asyncio
import gc
import sqlite3
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvloop
from aiohttp import web
from aiohttp.web_request import BaseRequest

from bench.process import Command
from bench.settings import Settings

SELECT = "SELECT body FROM objects WHERE path = ?"
REPLACE = "INSERT OR REPLACE INTO objects VALUES (?, ?)"

Put = tuple[str, bytes, asyncio.Future[None]]
Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


def command(settings: Settings, database: Path, *, application: bool = False) -> Command:
    """How to start the floor; its objects' paths are free."""
    name = "floor, Application" if application else "floor"
    arguments = [sys.executable, "-m", "bench.floor", str(database)]
    if application:
        arguments.append("--application")
    return Command(name, arguments, "/{usecase}/", settings.server_cpu)


def connect(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.executescript(
        """
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA cache_size = -65536;
        PRAGMA mmap_size = 1073741824;
        CREATE TABLE IF NOT EXISTS objects (path TEXT PRIMARY KEY, body BLOB);
        """
    )
    return connection


class Writer(threading.Thread):
    """Group commit: what arrives during a commit shares the next one."""

    def __init__(self, database: Path, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(daemon=True)
        self._connection = connect(database)
        self._loop = loop
        self._gathered: deque[Put] = deque()
        self._work = threading.Semaphore(0)

    def put(self, path: str, body: bytes) -> asyncio.Future[None]:
        """A future that is done once the bytes are on the disk."""
        stored = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._work.release)  # this turn's other requests come along
        self._gathered.append((path, body, stored))
        return stored

    def run(self) -> None:
        while self._work.acquire():
            batch = list(self._take())
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(REPLACE, [(path, body) for path, body, _ in batch])
            self._connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, [stored for *_, stored in batch])

    def _take(self) -> Iterator[Put]:
        while self._gathered:  # until it is empty: only then does the next put() wake us again
            yield self._gathered.popleft()


def _answer(batch: list[asyncio.Future[None]]) -> None:
    for stored in batch:
        if not stored.done():
            stored.set_result(None)


def handler(database: Path, loop: asyncio.AbstractEventLoop) -> Handler:
    select = connect(database).execute
    writer = Writer(database, loop)
    writer.start()

    async def handle(request: BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        if request.method == "PUT":
            await writer.put(path, await request.read())
            return web.Response()
        row = select(SELECT, (path,)).fetchone()
        return web.Response(body=row[0]) if row else web.Response(status=404)

    return handle


async def serve(database: Path, *, application: bool) -> None:
    handle = handler(database, asyncio.get_running_loop())
    runner = (
        web.AppRunner(_application(handle), access_log=None)
        if application
        else web.ServerRunner(web.Server(handle))
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gc.freeze()
    print("http://{}:{}".format(*runner.addresses[0]), flush=True)
    await asyncio.Event().wait()


def _application(handle: Handler) -> web.Application:
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.+}", handle)
    return application


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--application", action="store_true")
    given = parser.parse_args()
    uvloop.run(serve(given.database, application=given.application))


if __name__ == "__main__":
    main()
