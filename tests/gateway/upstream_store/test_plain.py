"""A server of the objectstore protocol that is taken for no gateway: what is left, and refused.

It is our own gateway, asked in the words that the protocol has for everybody.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from msgspec.structs import replace

from pannier.protocol.metadata import Metadata
from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import BadRequest, NotOffered, ObjectNotFound, ObjectReplaced
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Attributes, Listing, Store
from pannier_gateway.stores.memory import MemoryStore
from pannier_gateway.stores.upstream.plain import PlainStore, etag_of
from support.doorstep import serving
from support.hubs import USECASE, hub, upstream
from support.stores import NOON, SECOND, ManualClock, draft, put, read, streamed, whole
from support.wire import exchange

NOISE = random.Random(8650).randbytes(500_000)
KEY = "shared/org.1/objects/k"


@asynccontextmanager
async def behind(prefix: str = "") -> AsyncIterator[tuple[Store, Store]]:
    clock = ManualClock()
    base = MemoryStore(clock)
    async with hub(base, clock) as port, upstream(port) as store:
        yield PlainStore(store._server, prefix), base


@pytest.mark.parametrize("source", [whole, streamed])
@pytest.mark.parametrize("data", [b"", b"x", NOISE])
async def test_bytes_come_back_as_they_were(source: type, data: bytes) -> None:
    async with behind() as (store, _):
        told = await put(store, KEY, source(data))

        assert await read(store, KEY) == data
        assert await store.head(KEY) == told
        assert await read(store, KEY, Span(len(data) // 3, len(data))) == data[len(data) // 3 :]
        assert await store.delete(KEY)
        with pytest.raises(ObjectNotFound):
            await store.head(KEY)


async def test_what_the_protocol_has_words_for_comes_back() -> None:
    attributes = Attributes(
        content_type="text/plain",
        policy="ttl",
        after=90 * SECOND,
        origin="203.0.113.42",
        filename="naïve.txt",
        custom={"a": "b"},
    )
    async with behind("team/") as (store, base):
        told = await store.put(KEY, whole(b"x"), draft(attributes=attributes))

        assert told.attributes == attributes
        assert (told.created, told.expires) == (NOON, NOON + 90 * SECOND)
        assert await read(base, "shared/org.1/objects/team/k") == b"x"


async def test_stored_bytes_come_as_they_are_stored_whoever_has_compressed_them() -> None:
    async with behind() as (store, _):
        told = await put(store, KEY, b"text that pays to compress " * 1000)

        assert (told.attributes.encoding, told.attributes.by_client) == ("zstd", True)
        assert len(await read(store, KEY)) == told.size < 2000


async def test_a_version_that_is_replaced_while_it_is_read_is_told_of() -> None:
    async with behind() as (store, _):
        await put(store, KEY, NOISE)
        async with store.open(KEY) as reading:
            await put(store, KEY, NOISE[1:])
            with pytest.raises(ObjectReplaced):
                _ = [piece async for piece in reading.chunks(Span(90_000, 90_099))]
            await store.delete(KEY)
            with pytest.raises(ObjectReplaced):
                _ = [piece async for piece in reading.chunks(Span(90_000, 90_099))]


async def test_what_the_protocol_can_not_do_is_refused() -> None:
    async with behind() as (store, base):
        with pytest.raises(NotOffered, match="conditions"):
            await put(store, KEY, b"x", Conditions(if_none_match=("*",)))
        with pytest.raises(NotOffered, match="conditions"):
            await store.delete(KEY, Conditions(if_match=("*",)))
        with pytest.raises(NotOffered, match="list"):
            await store.list(Listing("shared/objects/"))
        with pytest.raises(BadRequest, match="not a valid header name"):
            await store.put(KEY, whole(b""), draft(attributes=Attributes(custom={"é": ""})))
        assert not await store.touch(KEY, "e", NOON)

        with pytest.raises(ObjectNotFound):
            await base.head(KEY)


@pytest.mark.parametrize(
    "header", [{"if-unmodified-since": "once"}, {"if-modified-since": formatdate(usegmt=True)}]
)
async def test_a_client_may_write_with_what_is_no_condition_of_a_write(
    header: dict[str, str],
) -> None:
    served, target = [replace(USECASE, name="attachments")], "/v1/objects/attachments/_/k"
    async with (
        hub(MemoryStore(), usecases=served) as port,
        upstream(port) as store,
        serving(PlainStore(store._server, "")) as url,
    ):
        put = await asyncio.to_thread(exchange, url, "PUT", target, header, b"bytes")
        got = await asyncio.to_thread(exchange, url, "GET", target)
        deleted = await asyncio.to_thread(exchange, url, "DELETE", target, header)

    assert (put.status, got.body, deleted.status) == (200, b"bytes", 204)


def test_versions_without_a_tag_are_told_apart_by_when_they_were_written() -> None:
    first, second = (Metadata(time_created=each) for each in (NOON, NOON + 1))

    assert len({etag_of(first, 1), etag_of(second, 1), etag_of(first, 2)}) == 3


async def test_what_no_header_can_say_does_not_keep_plain_readers_from_an_object() -> None:
    odd = Attributes(content_type="\x1f", custom={"é": "x", "a b": "x", "ok": "y"})
    async with hub(MemoryStore(ManualClock())) as port, upstream(port) as store:
        await store.put(KEY, whole(b"x"), draft(attributes=odd))
        told = await PlainStore(store._server).head(KEY)

        assert (await store.head(KEY)).attributes == odd
        assert told.attributes == Attributes(custom={"ok": "y"})
