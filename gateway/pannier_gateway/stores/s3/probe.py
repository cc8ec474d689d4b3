"""What an engine really does, asked once in a corner of the bucket: many accept a condition and
ignore it, a checksum and drop it, a key and file it under another.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic, Literal, TypeVar

from msgspec.structs import replace

from pannier_gateway.errors import (
    BadRequest,
    ObjectNotFound,
    PannierError,
    StoreBusy,
    StoreMisanswered,
    StoreRefused,
    StoreUnavailable,
)
from pannier_gateway.stores.provision import Attempt, Endpoints, Picked
from pannier_gateway.stores.s3.bodies import CRC64NVME, encoded
from pannier_gateway.stores.s3.bucket import NO_HEADERS, Headers, S3Bucket, Unmet
from pannier_gateway.stores.s3.keys import Layout, stored
from pannier_gateway.stores.s3.metadata import Stored, stored_object
from pannier_gateway.stores.s3.multipart import Uploads
from pannier_gateway.stores.s3.persistent import ended_early, steadily
from pannier_gateway.stores.s3.traits import LONGEST_KEY, Traits
from pannier_gateway.upstream.errors import ExchangeError

log = logging.getLogger("pannier.store")

ROUNDS = 4
CROWDED_TRIES = 24  # of each, since one writer who is cut off spoils it for all
AT_ONCE = 16  # keys that are deleted
MOMENTS = 3  # in which an engine may fail before that counts
BODIES = [bytes([number]) * (number + 2) for number in range(8)]  # of as many writers at once
TOGETHER_SECONDS = 1.0  # how long writers wait for each other
LOOKING_SECONDS = 0.05  # what an engine gets to look whether a condition holds
NOBODYS = '"00000000000000000000000000000000"'
PLAIN: Headers = {"content-type": "application/octet-stream"}
LAYOUTS: tuple[Layout, ...] = ("plain", "escaped", "marked")
FORMS: tuple[Literal["quoted", "bare"], ...] = ("quoted", "bare")
ENTRIES_A_PAGE = 1000
MOST_BODY = 4096
ODD = [
    *("a//b", "d/../e", "f/./g", "folder/", ".dot", "-", "%2F +?#&"),
    *("control\x01\n", "last\uffff", "x", "x/y"),
]

LONG = "n" * 300
LENGTHS = range(LONGEST_KEY, 64, -64)  # bytes of keys to try
SEGMENTS = f"{'n' * 199}/" * 6

Work = Awaitable[None]
E = TypeVar("E")
T = TypeVar("T")


class Probe:
    """Asks in `corner`, a prefix of its own, and leaves nothing there."""

    def __init__(self, bucket: S3Bucket, corner: str) -> None:
        self._bucket = bucket
        self._corner = corner
        self._used: set[str] = set()
        self._writers: list[asyncio.Task[bool]] = []

    def __repr__(self) -> str:
        return f"<Probe of {self._bucket.place}>"

    async def traits(self) -> Traits:
        """Raises what the store answers with, and StoreRefused for one that keeps no keys."""
        try:
            layout, longest = await self._layout(), await self._longest()
            traits = await self._with_checksum(Traits(layout=layout, longest_key=longest))
            traits = replace(traits, create=await self._one_wins(self._creators))
            traits = await self._with_replacing(traits)
            if traits.replace is not None:
                traits = await self._with_more(traits)
            traits = await self._with_tags(traits)
            return replace(traits, lifecycle=await steadily(self._lifecycle))
        finally:
            await self._clear()

    # Keys

    async def _layout(self) -> Layout:
        """The one that changes keys least, of those that this engine keeps apart."""
        for paths in ([*ODD, LONG], ODD):  # an engine may refuse long ones: it says so then
            for layout in LAYOUTS:
                if await self._keeps(layout, paths):
                    return layout
        raise StoreRefused(
            f"{self._bucket.place} does not keep keys apart, in no way that the gateway knows: "
            "objects would overwrite each other; use another store"
        )

    async def _keeps(self, layout: Layout, paths: Sequence[str]) -> bool:
        """Whether the odd paths are kept; an engine may fail for good, or in a bad moment."""
        for _ in range(MOMENTS):
            try:
                return await self._holds(layout, paths)
            except PannierError as error:
                refused = LONG in paths and not broke_off(error)  # some say then: they are busy
                if undecided(error) and not refused:
                    raise
                if not isinstance(error, StoreUnavailable):
                    return False
        return False

    async def _holds(self, layout: Layout, paths: Sequence[str]) -> bool:
        """Whether each of the paths holds what was put there, and is listed."""
        prefix = f"{self._corner}{layout}-{len(paths)}/"
        keys = {prefix + stored(path, layout): path.encode() for path in paths}
        self._used |= keys.keys()
        for key, body in keys.items():
            await self._bucket.put(key, body, PLAIN)
        encoded = layout != "marked"
        listed = await self._bucket.listed(prefix, "", ENTRIES_A_PAGE, None, encoded=encoded)
        found = {key: await self._body(key) for key in keys}
        return found == keys and {each.key for each in listed.keys} == keys.keys()

    async def _longest(self) -> int:
        """Bytes of a key that is kept: in some engines it has to fit into the name of a file."""
        for size in LENGTHS:
            key = f"{self._corner}{SEGMENTS}"[: size - 1] + "n"
            self._used.add(key)
            try:
                await self._bucket.put(key, b"long", PLAIN)
                if await self._body(key) == b"long":
                    return size
            except PannierError as error:
                if broke_off(error):
                    raise
        return LENGTHS[-1]

    # Checksums

    async def _with_checksum(self, traits: Traits) -> Traits:
        """The one that keeps the engine from storing other bytes than were sent."""
        if await steadily(partial(self._refuses, {CRC64NVME: encoded(bytes(8))})):
            return replace(traits, checksum="crc64nvme", verified=True)
        if await steadily(partial(self._refuses, {"content-md5": encoded(bytes(16))})):
            return replace(traits, checksum="md5", verified=True)
        return traits

    async def _refuses(self, wrong: Headers) -> bool:
        key = self._new_key()
        try:
            await self._bucket.put(key, b"sound", {**PLAIN, **wrong}, "none")
        except PannierError as error:
            if undecided(error):
                raise
            return await self._find(key) is None
        return False

    # Conditions

    async def _with_replacing(self, traits: Traits) -> Traits:
        for form in FORMS:
            trial = replace(traits, replace=form)
            if await self._one_wins(partial(self._replacers, trial)):
                return trial
        return traits

    async def _with_more(self, traits: Traits) -> Traits:
        ends = [partial(self._completers, traits, over=over) for over in (True, False)]
        complete = all([await self._one_wins(each) for each in ends])
        copy = await steadily(partial(self._copies, traits))
        delete = await steadily(self._deletes)
        once = delete and await steadily(self._deletes_once)
        return replace(traits, complete=complete, copy=copy, delete=delete, delete_once=once)

    async def _one_wins(self, crowd: Callable[[str], Awaitable[Sequence[Work]]]) -> bool:
        """Whether of many writers at once, all under one condition, exactly one succeeds."""
        a_round = partial(steadily, partial(self._winners, crowd), CROWDED_TRIES)
        found = await asyncio.gather(*(a_round() for _ in range(ROUNDS)), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return all(winners == 1 for winners in found)

    async def _winners(self, crowd: Callable[[str], Awaitable[Sequence[Work]]]) -> int:
        """Of one crowd, about a key of its own."""
        writers = [asyncio.create_task(won(work)) for work in await crowd(self._new_key())]
        self._writers += writers
        return sum(await asyncio.gather(*writers))

    async def _creators(self, key: str) -> Sequence[Work]:
        return self._held(key, {**PLAIN, "if-none-match": "*"})

    async def _replacers(self, traits: Traits, key: str) -> Sequence[Work]:
        guard = traits.guard(await self._put_and_find(key))
        return self._held(key, {**PLAIN, **guard})

    def _held(self, key: str, headers: Headers) -> Sequence[Work]:
        """Writers who send their last byte when all have sent the others: an engine that looks at
        a condition before it writes has looked by then, for everybody."""
        line = StartLine(len(BODIES))
        put = self._bucket.put_slowly
        return [put(key, body, line.pieces(body), headers) for body in BODIES]

    async def _completers(self, traits: Traits, key: str, *, over: bool) -> Sequence[Work]:
        """Uploads of one part each, over an object or where none is."""
        guard = traits.guard(await self._put_and_find(key) if over else None)
        return [self._upload(traits, key, body, PLAIN, guard) for body in BODIES]

    async def _upload(
        self, traits: Traits, key: str, body: bytes, headers: Headers, guard: Headers = NO_HEADERS
    ) -> None:
        async with Uploads(self._bucket, traits, insisting).begin(key, headers) as upload:
            await upload.send(body)
            await upload.finish(guard)

    async def _copies(self, traits: Traits) -> bool:
        """Whether a copy onto an object obeys a condition on that object."""
        key = self._new_key()
        found = await self._put_and_find(key)
        right = {**PLAIN, **traits.guard(found)}
        wrong = {**PLAIN, **traits.guard(replace(found, tag=NOBODYS))}
        copy = self._bucket.copy
        return not await won(copy(key, key, wrong)) and await won(copy(key, key, right))

    async def _deletes(self) -> bool:
        """Whether a delete obeys a condition, either way."""
        key = self._new_key()
        found = await self._put_and_find(key)
        refused = not await won(self._bucket.delete(key, {"if-match": NOBODYS}))
        return refused and await won(self._bucket.delete(key, {"if-match": found.tag}))

    async def _deletes_once(self) -> bool:
        """Whether a delete under a condition is refused where nothing is."""
        return not await won(self._bucket.delete(self._new_key(), {"if-match": NOBODYS}))

    # Extras

    async def _with_tags(self, traits: Traits) -> Traits:
        """One with the tags of the object that was there before would be deleted too early."""
        key = self._new_key()
        put = partial(self._bucket.put, key, b"tagged", checksum=traits.checksum)
        upload = partial(self._upload, traits, key, b"tagged")
        copy = partial(self._bucket.copy, key, key, retagged=True)
        writes = [(put, "a"), (put, ""), (put, "b"), (upload, ""), (put, "c")]
        copied = [(copy, "d")] if traits.copy else []
        tags = await steadily(partial(self._keeps_tags, key, [*writes, *copied]))
        in_parts = tags and await steadily(partial(self._keeps_tags, key, [(upload, "e")]))
        return replace(traits, tags=tags, tags_in_parts=in_parts)

    async def _keeps_tags(
        self, key: str, writes: Sequence[tuple[Callable[[Headers], Work], str]]
    ) -> bool:
        """Whether the object has the tag that it was last written with, or none."""
        try:
            for write, text in writes:
                await write({**PLAIN, "x-amz-tagging": f"probe={text}"} if text else PLAIN)
                if await self._bucket.tags(key) != ({"probe": text} if text else {}):
                    return False
        except PannierError as error:
            if undecided(error):
                raise
            return False
        return True

    async def _lifecycle(self) -> bool:
        """Whether there are such rules; what becomes of one is seen when it is put in force."""
        try:
            await self._bucket.lifecycle()
        except PannierError as error:
            if undecided(error):
                raise
            return False
        return True

    # Objects of the probe

    def _new_key(self) -> str:
        key = f"{self._corner}{secrets.token_hex(8)}"
        self._used.add(key)
        return key

    async def _put_and_find(self, key: str) -> Stored:
        await self._bucket.put(key, b"before", PLAIN)
        found = await self._find(key)
        if found is None:
            raise StoreMisanswered(f"{self._bucket.place} does not have what it took")
        return found

    async def _find(self, key: str) -> Stored | None:
        try:
            return stored_object(key, (await self._bucket.head(key)).headers)
        except ObjectNotFound:
            return None

    async def _body(self, key: str) -> bytes:
        return await steadily(partial(self._read, key))

    async def _read(self, key: str) -> bytes:
        async with await self._bucket.read(key) as answer:
            return await answer.whole(MOST_BODY)

    async def _clear(self) -> None:
        """Delete what was put, by its name, and then what is listed under other names."""
        await asyncio.gather(*self._writers, return_exceptions=True)  # some had been given up
        try:
            await self._forget_all(sorted(self._used))
            page = await self._bucket.listed(self._corner, "", ENTRIES_A_PAGE, None, encoded=False)
            await self._forget_all([each.key for each in page.keys])
        except PannierError as error:
            left = {"store": self._bucket.place, "prefix": self._corner, "error": str(error)}
            log.warning("probe left behind", extra=left)

    async def _forget_all(self, keys: Sequence[str]) -> None:
        at_once = asyncio.Semaphore(AT_ONCE)

        async def forget(key: str) -> None:
            async with at_once:
                await self._forget(key)

        await asyncio.gather(*map(forget, keys))

    async def _forget(self, key: str) -> None:
        """What the engine does not take as a key can't be there."""
        with suppress(ObjectNotFound, Unmet, BadRequest, StoreRefused):
            await self._bucket.delete(key)


class Unblamed(Generic[E]):
    """Endpoints that are not taken to fail where they refuse what a probe provokes, as some answer
    500 to all but one of many writers, nor with each of the tries of one that is persistent."""

    def __init__(self, endpoints: Endpoints[E]) -> None:
        self._endpoints = endpoints

    def __str__(self) -> str:
        return str(self._endpoints)

    @contextmanager
    def pick(self) -> Iterator[Picked[E]]:
        provoked: PannierError | None = None
        with self._endpoints.pick() as picked:
            try:
                yield picked
            except PannierError as error:
                if undecided(error) and not ended_early(error):
                    raise
                provoked = error
        if provoked is not None:
            raise provoked


class StartLine:
    """Where writers wait for each other, but not for ever: some are refused at once."""

    def __init__(self, writers: int) -> None:
        self._missing = writers
        self._all_there = asyncio.Event()

    def __repr__(self) -> str:
        return f"<StartLine, {self._missing} missing>"

    async def pieces(self, body: bytes) -> AsyncIterator[bytes]:
        yield body[:-1]
        self._missing -= 1
        if not self._missing:
            self._all_there.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_SECONDS):
                await self._all_there.wait()
                await asyncio.sleep(LOOKING_SECONDS)
        yield body[-1:]


async def insisting(attempt: Attempt[T], _size: int | None = None, _path: str | None = None) -> T:
    """For what an upload begins with: so much the more often the crowd comes to its end."""
    return await steadily(attempt)


async def won(work: Work) -> bool:
    """Whether a write under a condition was done; one that is refused for good was not."""
    try:
        await work
    except (Unmet, ObjectNotFound, StoreRefused, StoreUnavailable) as error:
        if undecided(error):
            raise
        return False
    return True


def broke_off(error: Exception) -> bool:
    """It says something of the network, and nothing of the engine."""
    return isinstance(error.__cause__, ExchangeError)


def undecided(error: Exception) -> bool:
    """What is found goes for good, so a bad moment must not decide: the probe ends, and is begun
    anew by whoever asks next."""
    return broke_off(error) or isinstance(error, StoreBusy)
