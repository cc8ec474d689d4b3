"""Stores to test with, every driver and every wrapper, and the bodies that go in and come out."""

import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
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
from pannier_gateway.resilience.shared import Shared
from pannier_gateway.resilience.stack import Resilience
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
from pannier_gateway.stores.s3.findings import Promise
from pannier_gateway.stores.s3.opening import OWN, connected
from pannier_gateway.stores.s3.store import Rules, S3Store
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.stores.secrets import MountedSecrets
from pannier_gateway.tls.trust import Trusts
from support import amazon
from support.engines import (
    bucket_of,
    make_bucket,
    pool_of,
    provision,
    store_of,
    unfinished_uploads,
)
from support.hostile import ChoppyStore, SlowStore
from support.hubs import hub, upstream
from support.makes import MAKES, QUICK, Engines
from support.pools import in_use

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


class Held(Body):
    """Keeps hold of those who read it, so that none is closed for being forgotten."""

    def __init__(self, pieces: Iterable[Buffer | Exception]) -> None:
        super().__init__(pieces)
        self._readers: list[AsyncIterator[Buffer]] = []
        self._open = 0

    def __aiter__(self) -> AsyncIterator[Buffer]:
        self._readers.append(self._read())
        return self._readers[-1]

    async def _read(self) -> AsyncIterator[Buffer]:
        self._open += 1
        try:
            async for piece in super().__aiter__():
                yield piece
        finally:
            self._open -= 1

    @property
    def closed(self) -> bool:
        return not self._open


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
    moves: bool = True  # deadlines can be moved
    mixes: bool = False  # overwritten by many at once it may come to be damaged: that is told
    longest: int = 1024  # bytes of a key that is kept for certain
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
async def s3_world(engines: Engines, make: str) -> AsyncIterator[World]:
    """A new bucket of the engine; no path begins with a slash there, as none does in a gateway."""
    clock = ManualClock()
    engine, traits = engines.running(make), MAKES[make].traits
    bucket = make_bucket(engine, f"world-{secrets.token_hex(8)}")
    async with in_use(pool_of(engine)) as pool:
        store = PrefixedStore(store_of(bucket_of(engine, bucket, pool), traits, clock), "usecase")
        yield remote_world(store, clock, traits, partial(unfinished_uploads, engine, bucket))


@asynccontextmanager
async def amazon_world() -> AsyncIterator[World]:
    """A prefix of a bucket of Amazon's, probed as a gateway does."""
    clock, own = ManualClock(), f"{amazon.KEPT}/{OWN}"
    with amazon.place() as place:
        nowhere, given = MountedSecrets(Path("/nowhere")), provision()
        async with connected(place.config, nowhere, Trusts(), given) as bucket:
            promise = Promise(bucket, own, read_only=False)
            store = PrefixedStore(
                S3Store(bucket, promise, Rules(own), given, clock), place.prefix.rstrip("/")
            )
            yield remote_world(store, clock, await promise(), place.unfinished)


def remote_world(
    store: Store, clock: ManualClock, traits: Traits, unfinished: Callable[[], set[int]]
) -> World:
    return World(
        store,
        store,
        clock,
        remote=True,
        holds=False,
        moves=traits.moves,
        mixes=not traits.verified,
        longest=traits.longest_key,
        unfinished=unfinished,
    )


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
}
"""Every store and every wrapper that has to keep the seam's promises, but for engines of S3."""


def world_of(kind: str, root: Path, engines: Engines) -> AbstractAsyncContextManager[World]:
    """One of `WORLDS`, or a bucket of the engine of that make, or of Amazon."""
    if kind == AMAZON:
        return amazon_world()
    return WORLDS[kind](root) if kind in WORLDS else s3_world(engines, kind)


AMAZON = "amazon"
SLOW = ("file, durable", "choppy file", "upstream, a gateway", "resilient slow memory")


def marks(kind: str) -> Sequence[pytest.MarkDecorator]:
    """A quick look makes do with some, and a test run with those that are built in minutes."""
    if kind in WORLDS:
        return [pytest.mark.slow] if kind in SLOW else []
    if kind in QUICK:
        return [pytest.mark.slow, pytest.mark.engines]
    if kind == AMAZON:
        return [pytest.mark.aws, pytest.mark.timeout(600)]
    return [pytest.mark.all_engines, pytest.mark.timeout(300)]


KINDS = [pytest.param(kind, marks=marks(kind)) for kind in (*WORLDS, *MAKES, AMAZON)]
"""Their names."""
