"""An engine that promises more than it keeps: the gateway finds out, and says so in its place."""

import asyncio

import pytest

from pannier_gateway.conditions import Conditions
from pannier_gateway.errors import Damaged, NotOffered, PreconditionFailed
from pannier_gateway.stores.base import Attributes, Record
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.probe import Probe
from pannier_gateway.upstream.connection import Answer
from support.engines import OWN, S3S_FS, store_of
from support.stores import NOON, draft, paths, put, read, whole

pytestmark = pytest.mark.slow
CREATE = Conditions(if_none_match=("*",))
VERSIONS = [bytes([number]) * 300_000 for number in range(8)]


async def test_what_it_does_not_keep_is_found_out_every_time(weak_bucket: S3Bucket) -> None:
    for turn in range(3):
        assert await Probe(weak_bucket, f"{OWN}probe/{turn}/").traits() == S3S_FS


async def test_odd_paths_are_objects_of_their_own_all_the_same(weak_bucket: S3Bucket) -> None:
    store = store_of(weak_bucket, S3S_FS)
    odd = sorted(["a", "a/", "a//b", "a/b", "../../x", "/lead", "x/./y", "x\n\x01", "%2F +"])

    for path in odd:
        await put(store, path, path.encode())

    assert [await read(store, path) for path in odd] == [path.encode() for path in odd]
    assert await paths(store) == odd


async def test_of_the_creators_of_one_gateway_one_wins(weak_bucket: S3Bucket) -> None:
    store = store_of(weak_bucket, S3S_FS)

    ended = await asyncio.gather(
        *(put(store, "k", body, CREATE) for body in VERSIONS), return_exceptions=True
    )

    assert sum(isinstance(each, Record) for each in ended) == 1
    assert sum(isinstance(each, PreconditionFailed) for each in ended) == len(VERSIONS) - 1


async def test_who_writes_without_a_condition_is_not_lost_to_one_who_has_looked_before(
    weak_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, head = store_of(weak_bucket, S3S_FS), weak_bucket.head
    await put(store, "k", b"old")
    other: list[asyncio.Task[Record]] = []

    async def look(key: str) -> Answer:
        answer = await head(key)
        monkeypatch.undo()
        other.append(asyncio.create_task(put(store, "k", b"unconditional")))
        await asyncio.wait(other, timeout=0.1)  # it is done by then, unless it waits
        return answer

    monkeypatch.setattr(weak_bucket, "head", look)
    await put(store, "k", b"conditional", Conditions(if_match=("*",)))
    await other[0]

    assert await read(store, "k") == b"unconditional"


async def test_deadlines_that_can_not_be_moved_safely_are_not_taken(weak_bucket: S3Bucket) -> None:
    store = store_of(weak_bucket, S3S_FS)
    attributes = Attributes(policy="tti", after=1)

    with pytest.raises(NotOffered, match="ttl or manual"):
        await store.put("k", whole(b"x"), draft(expires=NOON, attributes=attributes))


async def test_a_body_that_it_mixed_up_is_never_given_out_as_a_whole_one(
    weak_bucket: S3Bucket,
) -> None:
    """Overwritten by many gateways it may keep the bytes of one and the checksum of another."""
    stores = [store_of(weak_bucket, S3S_FS) for _ in VERSIONS]
    store = stores[0]
    for _ in range(5):
        await asyncio.gather(*map(put, stores, "k" * len(stores), VERSIONS))
        try:
            assert await read(store, "k") in VERSIONS
        except Damaged:
            return
