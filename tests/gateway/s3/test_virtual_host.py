"""A bucket that is named by its host: an engine finds it there, signatures and copies included.

What a manifest makes of such a bucket is asked in `test_opening`; here its name leads to loopback.
"""

import random
from collections.abc import AsyncIterator
from secrets import token_hex

import pytest

from pannier_gateway.errors import ObjectNotFound
from pannier_gateway.span import Span
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.s3.bucket import Address, S3Bucket
from pannier_gateway.stores.s3.probe import Probe
from pannier_gateway.stores.s3.signing import Signer
from support.engines import (
    CALM,
    OWN,
    REGION,
    VERSITYGW,
    Engine,
    Given,
    make_bucket,
    pool_of,
    provision,
    store_of,
)
from support.pools import in_use
from support.stores import NOON, SECOND, paths, put, read, streamed

pytestmark = [pytest.mark.slow, pytest.mark.engines]

NOISE = random.Random(8650).randbytes(9 << 20)
ODD = ["a", "a//b", "%2F +", "../x", "é"]


@pytest.fixture
async def named(strict: Engine) -> AsyncIterator[S3Bucket]:
    """A bucket of the engine that no path names."""
    name = make_bucket(strict, f"test-{token_hex(8)}")
    async with in_use(pool_of(strict)) as pool:
        entrance = Entrance(f"{name}.s3.localhost:{strict.port}", pool)
        among = provision().among({"there": entrance})
        yield S3Bucket(Address("ns/n", name, ""), among, Signer(REGION), Given(), CALM)


async def test_the_engine_is_the_same_by_that_name(named: S3Bucket) -> None:
    assert await Probe(named, f"{OWN}probe/").traits() == VERSITYGW


async def test_objects_are_put_read_listed_and_deleted(named: S3Bucket) -> None:
    store = store_of(named, VERSITYGW)
    for path in ODD:
        await put(store, path, path.encode())
    await put(store, "large", streamed(NOISE))

    assert await read(store, "large") == NOISE
    assert await read(store, "large", Span(5, 9_000_000)) == NOISE[5:9_000_000]
    assert await store.delete("large")
    with pytest.raises(ObjectNotFound):
        await store.head("large")
    assert [await read(store, path) for path in ODD] == [path.encode() for path in ODD]
    assert sorted(await paths(store)) == sorted(ODD)


@pytest.mark.parametrize("path", ODD)
async def test_a_deadline_is_moved_by_a_copy_in_its_place(named: S3Bucket, path: str) -> None:
    store = store_of(named, VERSITYGW)
    later = NOON + 10**9 * SECOND
    record = await put(store, path, streamed(NOISE), expires=later)

    assert await store.touch(path, record.etag, later + SECOND)

    assert (await store.head(path)).expires == later + SECOND
    assert await read(store, path) == NOISE
