"""What the probe finds of real engines, and what is remembered of it."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from pannier_gateway.errors import StoreBusy, StoreMisanswered, StoreUnavailable
from pannier_gateway.stores.provision import Endpoints
from pannier_gateway.stores.s3.bucket import NO_HEADERS, Headers, S3Bucket
from pannier_gateway.stores.s3.findings import FINDINGS, Promise
from pannier_gateway.stores.s3.probe import BODIES, ROUNDS, Probe, Unblamed
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.upstream.pool import Endpoint, Pool
from support.engines import (
    OWN,
    VERSITYGW,
    Engine,
    bucket_of,
    client,
    pool_of,
    provision,
    unfinished_uploads,
)
from support.faultproxy import FaultProxy, Hazard
from support.faulty import broken_off, busy, silent, unreachable

pytestmark = pytest.mark.slow

BEGUN_FOR_TAGS = 2  # uploads in parts


def keys(engine: Engine, bucket: S3Bucket) -> list[str]:
    listed = client(engine).list_objects_v2(Bucket=bucket.name).get("Contents", [])
    return [each["Key"] for each in listed]


async def test_a_strict_engine_is_found_to_be_what_it_is(strict: Engine, bucket: S3Bucket) -> None:
    assert await Probe(bucket, OWN).traits() == VERSITYGW

    assert keys(strict, bucket) == []
    assert unfinished_uploads(strict, bucket.name) == set()


async def test_an_engine_that_tells_who_deleted_is_found_to(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of those at hand does; Amazon's says that nothing is there."""
    delete = bucket.delete

    async def telling(key: str, headers: Headers = NO_HEADERS) -> None:
        if headers:
            await bucket.head(key)
        await delete(key, headers)

    monkeypatch.setattr(bucket, "delete", telling)

    assert await Probe(bucket, OWN).traits() == replace(VERSITYGW, delete_once=True)


async def test_what_was_found_is_remembered_in_the_bucket(strict: Engine, bucket: S3Bucket) -> None:
    first = Promise(bucket, OWN, read_only=False)
    found = await asyncio.gather(*(first() for _ in range(5)))
    assert keys(strict, bucket) == [f"{OWN}{FINDINGS}"]

    changed = b'{"layout":"escaped"}'
    await bucket.put(f"{OWN}{FINDINGS}", changed, {})

    assert await first() == found[0] == VERSITYGW
    assert await Promise(bucket, OWN, read_only=False)() == Traits(layout="escaped")


async def test_a_bucket_that_may_not_be_written_to_is_not_probed(
    strict: Engine, bucket: S3Bucket
) -> None:
    assert await Promise(bucket, OWN, read_only=True)() == Traits()
    assert keys(strict, bucket) == []


async def test_findings_that_can_not_be_read_are_never_written_over(bucket: S3Bucket) -> None:
    await bucket.put(f"{OWN}{FINDINGS}", b"{", {})

    for _ in range(2):
        with pytest.raises(StoreMisanswered, match="how the keys of this bucket"):
            await Promise(bucket, OWN, read_only=False)()


async def test_connections_that_end_do_not_make_it_begin_anew(
    strict: Engine, bucket: S3Bucket
) -> None:
    hazard = Hazard(resets=0.03, stalls=0.0)
    async with FaultProxy.run(strict.port, hazard, Random(1)) as proxy:
        pool = Pool(Endpoint("127.0.0.1", proxy.port))
        broken = bucket_of(strict, bucket.name, pool)
        found = await Promise(broken, OWN, read_only=False)()
        pool.close()
        await asyncio.sleep(0)

    assert found == VERSITYGW
    assert proxy.resets > 3


@pytest.mark.parametrize("cut", [0, 3])
async def test_an_upload_that_can_not_begin_is_begun_again_alone(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """The others of its crowd have begun by then, and wait."""
    begun: list[str] = []
    begin = bucket.begin_upload

    async def cut_off(key: str, *rest: Any, **named: Any) -> str:
        begun.append(key)
        if len(begun) <= cut:
            raise broken_off()
        return await begin(key, *rest, **named)

    monkeypatch.setattr(bucket, "begin_upload", cut_off)

    assert (await Probe(bucket, OWN).traits()).complete
    assert len(begun) == 2 * ROUNDS * len(BODIES) + BEGUN_FOR_TAGS + cut


async def test_a_probe_waits_for_those_whom_it_has_given_up(
    strict: Engine, bucket: S3Bucket
) -> None:
    hazard = Hazard(resets=0.1, stalls=0.02, stall_seconds=0.3)
    async with FaultProxy.run(strict.port, hazard, Random(2)) as proxy:
        pool = Pool(Endpoint("127.0.0.1", proxy.port))
        await Promise(bucket_of(strict, bucket.name, pool), OWN, read_only=False)()
        left = keys(strict, bucket)
        pool.close()
        await asyncio.sleep(0.3)

    assert left == keys(strict, bucket) == [f"{OWN}{FINDINGS}"]


async def test_an_engine_that_comes_late_is_asked_again(strict: Engine, bucket: S3Bucket) -> None:
    pool = pool_of(strict)
    late = bucket_of(strict, bucket.name, pool)
    promise = Promise(late, OWN, read_only=False)
    endpoint, pool.endpoint = pool.endpoint, pool.endpoint._replace(port=9)
    with pytest.raises(StoreUnavailable):
        await promise()
    assert "not probed yet" in str(promise)

    pool.endpoint = endpoint

    assert await promise() == VERSITYGW
    assert "keys marked" in str(promise)
    pool.close()
    await asyncio.sleep(0)


async def test_a_bad_moment_decides_nothing(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of request fails once, by the network or because there is too much to do."""
    promise = Promise(bucket, OWN, read_only=False)
    for name in ("put", "head", "put_slowly", "end_upload", "copy", "delete", "tags", "lifecycle"):
        for error in (silent(), busy()):
            with monkeypatch.context() as patch:
                patch.setattr(S3Bucket, name, failing(error))
                with pytest.raises(type(error)):
                    await promise()

    assert await promise() == VERSITYGW


async def test_one_failure_does_not_decide_how_keys_are_laid_out(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that has just begun may answer 500, and one that takes no odd keys does."""
    put = bucket.put
    failed: list[str] = []

    async def fails_once(key: str, *rest: Any, **named: Any) -> None:
        if "/marked-" in key and not failed:
            failed.append(key)
            raise StoreUnavailable("500 InternalError")
        await put(key, *rest, **named)

    monkeypatch.setattr(bucket, "put", fails_once)

    assert (await Probe(bucket, OWN).traits()).layout == "marked"
    assert failed


async def test_what_a_probe_provokes_is_not_held_against_the_store() -> None:
    """Some engines answer 500 to all writers but one: that would be taken for an outage."""
    endpoints: Endpoints[str] = provision().among({"only": "target"})

    for _ in range(20):
        with pytest.raises(StoreUnavailable), Unblamed(endpoints).pick() as picked:
            raise StoreUnavailable(f"500, as {picked.target} answers a provocation")
    for _ in range(20):
        with pytest.raises(StoreUnavailable), Unblamed(endpoints).pick():
            raise unreachable()

    with pytest.raises(StoreBusy, match="left alone"):
        [endpoints.pick() for _ in range(20)]


def failing(error: Exception) -> Callable[..., Awaitable[None]]:
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_weaknesses_are_told_in_words() -> None:
    told = replace(VERSITYGW, lifecycle=True)
    assert told.weaknesses == ["two who delete at once may both be told that there was one"]
    assert replace(told, delete_once=True).weaknesses == []
    assert len(Traits().weaknesses) == 7
