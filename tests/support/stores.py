"""Stores to test with, every driver and every wrapper, and the bodies that go in and come out."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pannier_gateway.clock import Clock
from pannier_gateway.conditions import UNCONDITIONAL, Conditions
from pannier_gateway.metrics import ResilienceMetrics
from pannier_gateway.resilience.stack import Resilience, Shared
from pannier_gateway.resilience.waiting import Queue
from pannier_gateway.span import Span
from pannier_gateway.stores.base import (
    Attributes,
    Buffer,
    Draft,
    Listing,
    Page,
    Record,
    Source,
    Store,
)
from pannier_gateway.stores.counted import CountedStore
from pannier_gateway.stores.file import Durability, FileStore
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.stores.prefixed import PrefixedStore
from pannier_gateway.stores.s3.traits import Traits
from support.engines import (
    VERSITYGW,
    Started,
    bucket_of,
    make_bucket,
    pool_of,
    store_of,
    unfinished_uploads,
    versitygw,
)
from support.hostile import ChoppyStore, SlowStore
from support.hubs import hub, upstream

SECOND = 1_000_000
NOON = 1_700_000_000 * SECOND
WORKERS = 2
PLAIN = Attributes()


class ManualClock:
    """Time that passes when it is told to. Microseconds."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class Body:
    """A Source made of pieces; an exception among them is raised when its turn comes."""

    def __init__(self, pieces: Iterable[Buffer | Exception], whole: bytes | None = None) -> None:
        self.whole = whole
        self._pieces = list(pieces)

    async def __aiter__(self) -> AsyncIterator[Buffer]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def whole(data: bytes) -> Body:
    """A body that is at hand."""
    return Body([data], data)


def streamed(data: bytes, piece: int = 100_000) -> Body:
    """A body that comes in pieces of so many bytes."""
    return Body(data[start : start + piece] for start in range(0, len(data), piece))


def draft(
    *, created: int = NOON, expires: int | None = None, attributes: Attributes = PLAIN
) -> Callable[[], Draft]:
    return lambda: Draft(created, expires, attributes)


async def put(
    store: Store,
    path: str,
    data: bytes | Source,
    conditions: Conditions = UNCONDITIONAL,
    expires: int | None = None,
) -> Record:
    source = whole(data) if isinstance(data, bytes) else data
    return await store.put(path, source, draft(expires=expires), conditions)


async def read(store: Store, path: str, span: Span | None = None) -> bytes:
    """The bytes of `span`, or all."""
    async with store.open(path) as reading:
        wanted = Span(0, reading.record.size) if span is None else span
        return b"".join([bytes(piece) async for piece in reading.chunks(wanted)])


async def pages(store: Store, listing: Listing) -> AsyncIterator[Page]:
    """`listing` and all that follow it."""
    following: str | None = listing.start_after
    while following is not None:
        page = await store.list(
            Listing(listing.prefix, following, listing.limit, listing.delimiter)
        )
        following = page.next
        yield page


async def paths(store: Store, prefix: str = "", limit: int = 1000) -> list[str]:
    """All paths under `prefix`, in the order they are listed."""
    listed = pages(store, Listing(prefix, limit=limit))
    return [record.path async for page in listed for record in page.records]


def shown_on(page: Page) -> list[str]:
    """What a page shows, records and prefixes, in order."""
    return sorted([*(record.path for record in page.records), *page.prefixes], key=utf8)


def utf8(text: str) -> bytes:
    """What paths are ordered by."""
    return text.encode()


def about(conditions: Conditions, etag: str) -> Conditions:
    """`conditions` where the tag "tag" stands for `etag`."""

    def named(tags: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if tags is None else tuple(etag if tag == "tag" else tag for tag in tags)

    return replace(
        conditions,
        if_match=named(conditions.if_match),
        if_none_match=named(conditions.if_none_match),
    )


@dataclass(frozen=True)
class World:
    """A store under test, what lies at its bottom, and the time it lives by."""

    store: Store
    base: Store
    clock: ManualClock
    root: Path | None = None
    remote: bool = False  # an engine keeps it, which forgets by itself
    holds: bool = True  # what is held open stays, whatever becomes of its path
    unfinished: Callable[[], set[int]] = set

    def strays(self) -> set[int]:
        """The bodies that lie about without an object."""
        return self.unfinished() if self.root is None else strays(self.root)


def strays(root: Path) -> set[int]:
    """The body files of a file store that its index does not name."""
    on_disk = {int(path.name, 16) for path in body_files(root)}
    with closing(sqlite3.connect(root / "index.db")) as index:
        named = index.execute("SELECT body FROM objects WHERE filed")
        return on_disk - {body for (body,) in named}


def body_files(root: Path) -> list[Path]:
    return [path for path in (root / "bodies").glob("*/*") if path.is_file()]


@asynccontextmanager
async def file_store(
    root: Path,
    clock: Clock,
    durability: Durability = "relaxed",
    pool: Executor | None = None,
) -> AsyncIterator[FileStore]:
    """A file store with worker threads of its own."""
    with ThreadPoolExecutor(WORKERS) as own:
        async with FileStore.start(root, pool or own, clock, durability) as store:
            yield store


@asynccontextmanager
async def memory_world(_: Path, wrap: Callable[[Store], Store]) -> AsyncIterator[World]:
    clock = ManualClock()
    base = MemoryStore(clock)
    yield World(wrap(base), base, clock)


@asynccontextmanager
async def file_world(
    root: Path, wrap: Callable[[Store], Store], durability: Durability = "relaxed"
) -> AsyncIterator[World]:
    clock = ManualClock()
    async with file_store(root, clock, durability) as base:
        yield World(wrap(base), base, clock, root)


@asynccontextmanager
async def s3_world(
    root: Path, wrap: Callable[[Store], Store], engine: Callable[[Path], Started], traits: Traits
) -> AsyncIterator[World]:
    clock = ManualClock()
    with engine(root) as running:
        pool = pool_of(running)
        bucket = make_bucket(running)
        base = store_of(bucket_of(running, bucket, pool), traits, clock)
        abandoned = partial(unfinished_uploads, running, bucket)
        try:
            yield World(wrap(base), base, clock, remote=True, holds=False, unfinished=abandoned)
        finally:
            pool.close()


@asynccontextmanager
async def hub_world(_: Path, wrap: Callable[[Store], Store]) -> AsyncIterator[World]:
    """A gateway behind ours."""
    clock = ManualClock()
    base = MemoryStore(clock)
    async with hub(base, clock) as port, upstream(port) as store:
        yield World(wrap(PrefixedStore(store, "shared/objects")), base, clock, holds=False)


def bare(store: Store) -> Store:
    return store


def prefixed(store: Store) -> Store:
    return PrefixedStore(store, "a")  # short, so that paths under test begin with it again


def counted_and_prefixed(store: Store) -> Store:
    return prefixed(CountedStore(store, lambda *_: None))  # as the gateway has it


@asynccontextmanager
async def resilient_world(root: Path, wrap: Callable[[Store], Store]) -> AsyncIterator[World]:
    """All that makes a store resilient, around one in memory; it has room for storms of tests."""
    clock = ManualClock()
    base = MemoryStore(clock)
    with ThreadPoolExecutor(1) as pool:
        shared = Shared(ResilienceMetrics(CollectorRegistry()), lambda: 0.0, pool, root)
        resilience = Resilience("bucket", shared)
        resilience.slots.queue = Queue("turns", lambda *_: None, seconds=60, room=20_000)
        yield World(resilience.around(wrap(base)), base, clock)


WORLDS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {
    "memory": partial(memory_world, wrap=bare),
    "file": partial(file_world, wrap=bare),
    "file, durable": partial(file_world, wrap=bare, durability="full"),
    "prefixed memory": partial(memory_world, wrap=prefixed),
    "counted and prefixed file": partial(file_world, wrap=counted_and_prefixed),
    "slow memory": partial(memory_world, wrap=SlowStore),
    "resilient memory": partial(resilient_world, wrap=bare),
    "resilient slow memory": partial(resilient_world, wrap=SlowStore),
    "choppy file": partial(file_world, wrap=ChoppyStore),
    "upstream, a gateway": partial(hub_world, wrap=bare),
    "s3, versitygw": partial(s3_world, wrap=bare, engine=versitygw, traits=VERSITYGW),
}
"""Every store and every wrapper that has to keep the seam's promises."""

SLOW = (
    "file, durable",
    "choppy file",
    "upstream, a gateway",
    "s3, versitygw",
    "resilient slow memory",
)
KINDS = [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in WORLDS]
"""Their names; a quick look makes do with some."""
