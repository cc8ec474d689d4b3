"""Listings: what the engine lists, in order, with the records that only HEAD tells.

A listing of S3 knows neither expiry nor metadata. What HEAD told once counts for as long as the
engine lists the key with the same entity tag and time; of keys that fold into one prefix a single
living one is enough; and what else has to be asked is asked many at once. Of so many some meet a
connection that ends: those are asked again, and not the whole listing.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

from pannier_gateway.clock import Clock
from pannier_gateway.errors import StoreMisanswered
from pannier_gateway.moments import SECOND
from pannier_gateway.stores.base import Listing, Page, Record, common_prefix, resumed_prefix
from pannier_gateway.stores.filling import Filling, weight
from pannier_gateway.stores.s3.answers import Listed, ListedPage
from pannier_gateway.stores.s3.keys import Layout, is_text, path_of, stored, stored_prefix
from pannier_gateway.stores.s3.metadata import Stored, moment_of
from pannier_gateway.stores.s3.persistent import TRIES, steadily
from pannier_gateway.stores.s3.refusals import S3

log = logging.getLogger("pannier.store")

AT_ONCE = 16  # HEADs of one listing
ENTRIES_A_PAGE = 1000
REMEMBERED = 16_384  # records: some 15 MiB
LIGHT = 1024  # bytes up to which a record is remembered: others may have written far larger ones
SETTLED = 2 * SECOND  # engines tell times in seconds: a younger object may change and look the same
LAST = "\U0010fffd"  # sorts after whatever else follows a prefix

Look = Callable[[str], Awaitable[Stored | None]]
T = TypeVar("T")


class Keys(Protocol):
    """What a listing asks of a bucket."""

    place: str

    async def listed(
        self, prefix: str, start_after: str, most: int, token: str | None, *, encoded: bool
    ) -> ListedPage: ...


class Candidate(NamedTuple):
    """A path that the engine lists, and the prefix that it folds into."""

    path: str
    listed: Listed
    folded: str | None


class Place(NamedTuple):
    """Where a listing goes on: after a key, or at a mark of the engine's. It has come to `told`."""

    start: str
    token: str | None = None
    told: str = ""


class Lister:
    """Lists one bucket. `look` asks HEAD of a path; `hidden` is the prefix of the gateway's own."""

    def __init__(self, keys: Keys, look: Look, clock: Clock, hidden: str) -> None:
        self._keys = keys
        self._look = look
        self._clock = clock
        self._hidden = hidden
        self._known: OrderedDict[Listed, Record] = OrderedDict()
        self._told = False

    def __repr__(self) -> str:
        return f"<Lister, {len(self._known)} records known>"

    async def page(self, listing: Listing, layout: Layout) -> Page:
        filling = Filling(listing.limit)
        async with aclosing(self._entries(listing, layout)) as entries:
            async for entry in entries:
                if filling.full:
                    return filling.page(more=True)
                filling.add(entry)
        return filling.page(more=False)

    async def _entries(
        self, listing: Listing, layout: Layout
    ) -> AsyncGenerator[Record | str, None]:
        """What the listing shows from its start on: living records and prefixes, in order."""
        shown = resumed_prefix(listing)
        here, tries = Place(begin(listing, layout)), 1
        while True:
            page = await self._page_at(here, listing, layout, tries)
            tries = TRIES  # who has come so far does not begin anew for a connection that ends
            candidates = self._candidates(page, listing, layout)
            async for entry in self._living(candidates, shown):
                shown = entry if isinstance(entry, str) else None
                yield entry
            if not page.more:
                return
            here = following(here, page)
            if candidates and shown is not None and candidates[-1].folded == shown:
                beyond = stored_prefix(shown, layout) + LAST
                here = Place(beyond, told=beyond)

    async def _page_at(
        self, here: Place, listing: Listing, layout: Layout, tries: int
    ) -> ListedPage:
        """The keys from there on. Raises StoreMisanswered where the engine does not go on."""
        prefix = stored_prefix(listing.prefix, layout)
        most = ENTRIES_A_PAGE if listing.delimiter else min(ENTRIES_A_PAGE, listing.limit + 1)
        encoded = layout != "marked"  # whose keys XML can hold
        asked = partial(self._keys.listed, prefix, here.start, most, here.token, encoded=encoded)
        page = await steadily(asked, tries)
        if not advances(here, page):
            told = f"{self._keys.place} lists keys again, or not in order"
            raise StoreMisanswered(f"{told}: {S3.check}")
        return page

    def _candidates(self, page: ListedPage, listing: Listing, layout: Layout) -> list[Candidate]:
        self._tell_of_unreadable(page)
        found = ((path_of(each.key, layout), each) for each in page.keys)
        return [
            Candidate(path, each, common_prefix(path, listing))
            for path, each in found
            if path is not None and not each.key.startswith(self._hidden)
            if path > listing.start_after and path.startswith(listing.prefix)
        ]

    def _tell_of_unreadable(self, page: ListedPage) -> None:
        """Once: no name of ours leads to such a key."""
        unreadable = [] if self._told else [e.key for e in page.keys if not is_text(e.key)]
        if unreadable:
            self._told = True
            log.warning("key left out of listings", extra={"key": ascii(unreadable[0])})

    async def _living(
        self, candidates: list[Candidate], shown: str | None
    ) -> AsyncGenerator[Record | str, None]:
        """What becomes of the candidates of a page, `shown` having been told before."""
        at = 0
        while chosen := choose(candidates, at, shown):
            records = await together([self._record(candidates[index]) for index in chosen])
            at = chosen[-1] + 1
            for index, record in zip(chosen, records, strict=True):
                folded = candidates[index].folded
                if record is not None:
                    shown = folded
                    yield record if folded is None else folded
                elif folded is not None:
                    at = index + 1  # another one of the same prefix may be alive
                    break

    async def _record(self, candidate: Candidate) -> Record | None:
        record = self._known.get(candidate.listed)
        if record is None:
            found = await steadily(partial(self._look, candidate.path))
            if found is None:
                return None
            record = found.record
            if settled(found, candidate.listed) and weight(record) <= LIGHT:
                self._remember(candidate.listed, record)
        else:
            self._known.move_to_end(candidate.listed)
        return None if record.expired(self._clock()) else record

    def _remember(self, listed: Listed, record: Record) -> None:
        self._known[listed] = record
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


async def together(asked: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """What they come to. The first that fails is raised when all others have ended early."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in asked]
    except ExceptionGroup as failed:
        error = failed.exceptions[0]
    else:
        return [each.result() for each in tasks]
    raise error  # as it is: its cause tells whether it passes


def begin(listing: Listing, layout: Layout) -> str:
    """The key after which the engine shall list; some list nothing after one before the prefix."""
    told = resumed_prefix(listing)
    if told is not None:
        return stored_prefix(told, layout) + LAST
    if not listing.start_after:
        return ""
    start = stored(listing.start_after, layout)
    return start if start >= stored_prefix(listing.prefix, layout) else ""


def advances(here: Place, page: ListedPage) -> bool:
    """Whether a page goes on from there: where none does, a listing would never end."""
    if page.keys and here.told:
        return rank(page.keys[0].key) > rank(here.told)
    return bool(page.keys) or not page.more or page.token != here.token


def following(here: Place, page: ListedPage) -> Place:
    """Where the listing goes on after that page."""
    told = page.keys[-1].key if page.keys else here.told
    return Place("" if page.token else told, page.token, told)


def rank(key: str) -> bytes:
    """By which an engine lists its keys in order: its bytes."""
    return key.encode(errors="surrogateescape")


def choose(candidates: Sequence[Candidate], at: int, shown: str | None) -> list[int]:
    """The next ones to ask about, from `at` on: one of each prefix that has not been told."""
    chosen: list[int] = []
    for index in range(at, len(candidates)):
        folded = candidates[index].folded
        if folded is not None and folded == shown:
            continue
        chosen.append(index)
        shown = folded
        if len(chosen) == AT_ONCE:
            break
    return chosen


def settled(found: Stored, listed: Listed) -> bool:
    """Whether this is the object as listed, and so old that no other one could look the same."""
    age = moment_of(found.date) - moment_of(found.modified)
    return found.tag == listed.tag and age > SETTLED
