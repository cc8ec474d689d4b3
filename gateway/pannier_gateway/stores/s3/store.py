"""The S3 store: the Store seam over one bucket, as far as its engine keeps its word.

Conditions are decided here, on what HEAD tells, and guarded by the engine's own: a write says that
it counts only while all is still as it was seen. Where the engine does not obey that, only writers
of this process are kept from overtaking each other.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pannier_gateway.clock import Clock, system_clock
from pannier_gateway.conditions import UNCONDITIONAL, Conditions, check_write
from pannier_gateway.errors import (
    BadRequest,
    Damaged,
    NotOffered,
    ObjectExpired,
    ObjectNotFound,
    PreconditionFailed,
    StoreUnavailable,
)
from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Draft, Listing, Page, Record, Source
from pannier_gateway.stores.provision import Kept, Provision
from pannier_gateway.stores.remote import AT_ONCE, RemoteOpening, all_of
from pannier_gateway.stores.s3.bodies import Body, checksum_of, size_of
from pannier_gateway.stores.s3.bucket import Headers, S3Bucket, Unmet
from pannier_gateway.stores.s3.keys import stored
from pannier_gateway.stores.s3.lifespans import tagging
from pannier_gateway.stores.s3.listing import Lister
from pannier_gateway.stores.s3.metadata import Stored, headers_of, stored_object
from pannier_gateway.stores.s3.multipart import Again, Parts, Uploads, once
from pannier_gateway.stores.s3.reading import S3Object
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.stores.s3.turns import Turns
from pannier_gateway.stores.s3.writing import Completion, Writing
from pannier_gateway.upstream.request import taken

Write = Callable[[Headers], Awaitable[None]]  # with the condition that guards it

TRIES = 8  # of a guarded write, while others change the same object


class Found(Protocol):
    """The traits of the engine, found out when they are first asked for."""

    traits: Traits | None

    async def __call__(self) -> Traits:
        """Raises what the store answers with."""
        ...


class Rules(NamedTuple):
    """`own` is the prefix of the keys that the gateway keeps for itself."""

    own: str
    storage_class: str | None = None


class S3Store:
    """Implements Store. `traits` tells what the engine can do, and raises when it can't be had."""

    def __init__(
        self,
        bucket: S3Bucket,
        traits: Found,
        rules: Rules,
        provision: Provision,
        clock: Clock = system_clock,
    ) -> None:
        self._bucket = bucket
        self._traits = traits
        self._provision = provision
        self._own = rules.own
        self._clock = clock
        kind = rules.storage_class
        self._kind = {} if kind is None else {"x-amz-storage-class": kind}
        self._turns = Turns()
        self._lister = Lister(bucket, self._look, clock, rules.own)

    def __repr__(self) -> str:
        return f"<S3Store {self._bucket.place}>"

    def __str__(self) -> str:
        """Where it is, and what its engine was found to do."""
        return f"S3, {self._bucket.place}, {self._traits}"

    @property
    def lost(self) -> bool:
        """An engine is asked anew each time: there is nothing to be lost."""
        return False

    @property
    def promises(self) -> Mapping[str, bool]:
        """What its engine was found to keep, and what not; nothing before it was asked."""
        return {} if self._traits.traits is None else self._traits.traits.promises

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> RemoteOpening:
        return RemoteOpening(partial(self._object, path), ahead, self._check_alive)

    async def head(self, path: str) -> Record:
        found = await self._look(path)
        if found is None:
            raise ObjectNotFound(f"no object {path!r}")
        self._check_alive(found.record)
        return found.record

    async def put(
        self,
        path: str,
        source: Source,
        draft: Callable[[], Draft],
        conditions: Conditions = UNCONDITIONAL,
    ) -> Record:
        if not path:
            raise BadRequest("no object has an empty path")
        traits = await self._traits()
        target = Target(path, self._key(path, traits), traits, conditions)
        if source.whole is not None:
            return await self._put_whole(target, source.whole, draft(), once)
        async with taken(source) as pieces, Parts(pieces, self._provision.keep) as parts:
            first = await parts.next()
            if parts.ended:
                return await self._put_whole(target, first, draft(), self._provision.again)
            return await self._put_parts(target, first, parts, draft)

    async def delete(self, path: str, conditions: Conditions = UNCONDITIONAL) -> bool:
        traits = await self._traits()
        target = Target(path, self._key(path, traits), traits, conditions)
        async with self._turns.at(path):
            for _ in range(TRIES):
                try:
                    found = await self._admitted(target)
                except Damaged:
                    if target.conditions.guards_writes:
                        raise
                    await self._bucket.delete(target.key)  # whatever it was
                    return True
                if found is None:
                    return False
                try:
                    guard = {"if-match": found.tag} if traits.delete else {}
                    await self._bucket.delete(target.key, guard)
                except (Unmet, ObjectNotFound):
                    continue  # it has changed meanwhile: look again
                return not found.record.expired(self._clock())
        raise self._busy(path)

    async def touch(self, path: str, etag: str, expires: int) -> bool:
        traits = await self._traits()
        async with self._turns.at(path):
            found = await self._look(path)
            if found is None or found.record.expired(self._clock()) or found.record.etag != etag:
                return False
            return await self._describe_anew(
                found, replace(found.record, expires=expires), self._key(path, traits), traits
            )

    async def list(self, listing: Listing) -> Page:
        return await self._lister.page(listing, (await self._traits()).layout)

    # Writing

    async def _put_whole(
        self, target: "Target", body: Body, drafted: Draft, again: Again
    ) -> Record:
        self._check_kept(drafted, target.traits)
        size = size_of(body)
        record = recorded(target.path, size, drafted, version(target.path, body, drafted))
        headers = self._headers(record) | self._tags(record, target.traits)
        checksum = target.traits.checksum

        async def put(guard: Headers) -> None:
            await self._bucket.put(target.key, body, {**headers, **guard}, checksum)

        at_once = None if target.conditions.guards_writes else size  # a guarded one waits its turn
        await again(self._writing(target, record, put).attempt, at_once, target.path)
        return record

    async def _put_parts(
        self, target: "Target", first: Kept, parts: Parts, draft: Callable[[], Draft]
    ) -> Record:
        """S3 wants to know all but the bytes when an upload begins: what is only known when the
        body has ended, the size before encoding, is written behind it."""
        drafted = draft()
        self._check_kept(drafted, target.traits)
        early = replace(drafted.attributes, original_size=None)
        etag = secrets.token_hex(8)
        record = recorded(target.path, 0, replace(drafted, attributes=early), etag)
        await self._guard(target)  # not to take what can't be kept
        again = self._provision.again
        way = Uploads(self._bucket, target.traits, again)
        headers = self._headers(record) | self._tags(record, target.traits, in_parts=True)
        async with way.begin(target.key, headers) as upload:
            await upload.send(first)
            size = first.size
            while not parts.ended:
                body = await parts.next()
                await upload.send(body)
                size += body.size
            ended = draft()
            finish = upload.finish if target.traits.complete else upload.finish_unguarded
            await again(self._writing(target, record, finish, Completion).attempt)
        record = replace(record, size=size)
        if ended.attributes == early:
            return record
        whole = replace(record, attributes=ended.attributes)
        return await again(partial(self._complete, target, whole, record))

    def _writing(
        self, target: "Target", record: Record, write: Write, kind: type[Writing] = Writing
    ) -> Writing:
        async def guarded() -> None:
            """Again when somebody else was faster but may be overwritten."""
            async with self._turn(target):
                for _ in range(TRIES):
                    guard = await self._guard(target)
                    with suppress(Unmet):
                        return await write(guard)
            raise self._busy(target.path)

        async def seen() -> str | None:
            try:
                found = await self._look(target.path)
            except Damaged:
                return ""  # whatever it was
            return None if found is None else found.record.etag

        return kind(guarded, seen, record.etag)

    async def _complete(self, target: "Target", whole: Record, early: Record) -> Record:
        """Write what was not known before; what is there stays where that can't be done safely."""
        found = await self._look(target.path)
        if found is None or found.record.etag != early.etag:
            return whole  # somebody else has written since
        done = await self._describe_anew(found, whole, target.key, target.traits)
        return whole if done else early

    async def _describe_anew(self, found: Stored, record: Record, key: str, traits: Traits) -> bool:
        """Give the very object that was found another description, and keep its bytes."""
        if not traits.moves:
            return False
        in_parts = record.size > AT_ONCE and not traits.copy
        headers = self._headers(record) | self._tags(record, traits, in_parts=in_parts)
        source = {"x-amz-copy-source-if-match": found.tag}
        guard = traits.guard(found)
        try:
            if traits.copy:
                told = {**headers, **source, **guard}
                await self._bucket.copy(key, key, told, retagged=traits.tags)
            elif record.size <= AT_ONCE:
                await self._rewrite(found, key, headers | guard, traits)
            else:
                way = Uploads(self._bucket, traits)
                async with way.begin(key, headers, copying=True) as upload:
                    await upload.copy(source, record.size)
                    await upload.finish(guard)
        except (Unmet, ObjectNotFound):
            return False  # it is not there any more
        return True

    async def _rewrite(
        self, found: Stored, key: str, headers: dict[str, str], traits: Traits
    ) -> None:
        """Put the same bytes once more. Raises Damaged for what are others by now."""
        remote = S3Object(found.record.path, key, self._bucket)
        async with await remote.get({"if-match": found.tag}) as answer:
            body = await all_of(answer, found.record.size)
        remote.check(answer, body)
        await self._bucket.put(key, body, headers, traits.checksum)

    # Looking

    async def _object(self, path: str) -> S3Object:
        return S3Object(path, self._key(path, await self._traits()), self._bucket)

    async def _look(self, path: str) -> Stored | None:
        """What is stored at `path`, expired or not."""
        try:
            answer = await self._bucket.head(self._key(path, await self._traits()))
        except ObjectNotFound:
            return None
        return stored_object(path, answer.headers)

    async def _admitted(self, target: "Target") -> Stored | None:
        """What is at the target, if the conditions let it be changed. Raises PreconditionFailed."""
        found = await self._look(target.path)
        alive = found is not None and not found.record.expired(self._clock())
        validators = found.record.validators if found is not None and alive else None
        if not check_write(target.conditions, validators):
            raise PreconditionFailed
        return found

    async def _guard(self, target: "Target") -> dict[str, str]:
        if not target.conditions.guards_writes:
            return {}
        return target.traits.guard(await self._admitted(target))

    @asynccontextmanager
    async def _turn(self, target: "Target") -> AsyncIterator[None]:
        """Of a write: not every engine keeps one from coming between a look and what follows."""
        async with self._turns.at(target.path, shared=not target.conditions.guards_writes):
            yield

    def _check_alive(self, record: Record) -> None:
        if record.expired(self._clock()):
            raise ObjectExpired(f"the time of {record.path!r} is over")

    def _check_kept(self, drafted: Draft, traits: Traits) -> None:
        if drafted.attributes.policy == "tti" and not traits.moves:
            raise NotOffered(
                f"{self._bucket.place} can't move a deadline without the risk of undoing what "
                "somebody else writes: use the expiration ttl or manual"
            )

    def _headers(self, record: Record) -> dict[str, str]:
        return headers_of(record) | self._kind

    def _tags(self, record: Record, traits: Traits, *, in_parts: bool = False) -> dict[str, str]:
        """Of what is sent now: the lifespan begins with that."""
        kept = traits.tags_in_parts if in_parts else traits.tags
        return tagging(record.expires, self._clock()) if kept else {}

    def _key(self, path: str, traits: Traits) -> str:
        key = stored(path, traits.layout)
        if not key:
            return f"{self._own}nothing"  # the bucket itself would answer to no key at all
        if key.startswith(self._own):
            raise BadRequest(f"paths that begin with {self._own!r} are the gateway's own")
        if len(key.encode(errors="surrogatepass")) > traits.longest_key:
            raise BadRequest(
                f"{self._bucket.place} keeps keys of up to {traits.longest_key} bytes, that of "
                f"{path[:40]!r}… is longer: shorten it"
            )
        return key

    def _busy(self, path: str) -> StoreUnavailable:
        return StoreUnavailable(f"others keep changing {path!r}: ask again")


class Target(Struct, frozen=True):
    """What a write is about."""

    path: str
    key: str
    traits: Traits
    conditions: Conditions


def recorded(path: str, size: int, drafted: Draft, etag: str) -> Record:
    return Record(path, size, etag, drafted.created, drafted.expires, drafted.attributes)


def version(path: str, body: Body, drafted: Draft) -> str:
    """A tag for these bytes, stored there at this moment: one that is sent twice stays the same."""
    told = msgspec.msgpack.encode((path, checksum_of(body), drafted))
    return blake2b(told, digest_size=8).hexdigest()
