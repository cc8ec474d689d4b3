"""Real engines delete by the rules that are written for them, what has expired and nothing else; or
the rules are not written."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pannier_gateway.clock import system_clock
from pannier_gateway.config.model import Expiry
from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.enactment import Enactment
from pannier_gateway.stores.s3.lifecycle import NO_RULES, Plan, plan
from pannier_gateway.stores.s3.lifespans import DAY, HOUR, tagging
from support.configs import USECASE
from support.engines import Engine, bucket_of, client, make_bucket, pool_of, store_of
from support.makes import MAKES, Engines
from support.pools import in_use
from support.stores import put, streamed

pytestmark = [pytest.mark.slow, pytest.mark.all_engines, pytest.mark.timeout(240)]

PREFIX = "team/a/"
THEIRS = {
    "ID": "theirs",
    "Status": "Enabled",
    "Filter": {"Prefix": "logs/"},
    "Expiration": {"Days": 9},
}
WEEK = replace(
    USECASE, expiration=Expiry(policy="TimeToLive", after=7 * 86_400), allowed_expirations=()
)


@asynccontextmanager
async def bucket_on(engine: Engine) -> AsyncIterator[S3Bucket]:
    """A bucket in which somebody else has a rule already."""
    name = make_bucket(engine, f"lifecycle-{secrets.token_hex(8)}")
    client(engine).put_bucket_lifecycle_configuration(
        Bucket=name, LifecycleConfiguration={"Rules": [THEIRS]}
    )
    async with in_use(pool_of(engine)) as pool:
        yield bucket_of(engine, name, pool)


async def planned(bucket: S3Bucket, prefix: str = PREFIX) -> Plan:
    return plan(await Enactment(bucket).current(), prefix, [WEEK], tagged=True)


def rules(engine: Engine, bucket: S3Bucket) -> list[dict[str, object]]:
    """As another client sees them, in order."""
    answer = client(engine).get_bucket_lifecycle_configuration(Bucket=bucket.name)
    return sorted(answer["Rules"], key=lambda rule: str(rule["ID"]))


def keys(engine: Engine, bucket: S3Bucket) -> set[str]:
    listed = client(engine).list_objects_v2(Bucket=bucket.name).get("Contents", [])
    return {each["Key"] for each in listed}


def until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("make", ["minio", "ceph"])
async def test_rules_are_kept_beside_those_of_others(engines: Engines, make: str) -> None:
    engine = engines.running(make)
    async with bucket_on(engine) as bucket:
        before = rules(engine, bucket)
        for prefix in (PREFIX, "", "team/b/"):
            done = await Enactment(bucket).enact(await planned(bucket, prefix))
            after = rules(engine, bucket)

            assert not (await planned(bucket, prefix)).pressing
            assert len(after) == len(before) + len(done.differences)
            assert all(each in after for each in before)
            assert all(each["Status"] == "Enabled" for each in after)
            before = after


async def test_minio_deletes_what_has_expired_and_nothing_else(engines: Engines) -> None:
    """It lets its administrator say when an object was written."""
    engine = engines.running("minio")
    ago = (datetime.now(UTC) - timedelta(days=5)).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    old = {"x-minio-source-mtime": ago, "x-minio-source-replication-request": "true"}
    lifetimes = {"a day": DAY, "two": 2 * DAY, "seven": 7 * DAY}
    async with bucket_on(engine) as bucket:
        await bucket.put(f"{PREFIX}untagged", b"x", old)
        for name, lifetime in lifetimes.items():
            for place in (PREFIX, "team/b/"):
                await bucket.put(f"{place}{name}", b"x", {**old, **tagging(lifetime, 0)})
        before = keys(engine, bucket)
        await Enactment(bucket).enact(await planned(bucket))

        assert before - keys(engine, bucket) == {f"{PREFIX}a day", f"{PREFIX}two"}


async def test_ceph_deletes_what_has_expired_and_nothing_else(engines: Engines) -> None:
    """A day of its rules takes five seconds."""
    engine, traits = engines.running("ceph"), MAKES["ceph"].traits
    async with bucket_on(engine) as bucket:
        store, now = store_of(bucket, traits), system_clock()
        for path, expires in {"soon": now + HOUR, "later": now + 7 * DAY, "never": None}.items():
            for place in (PREFIX, "team/b/"):
                await put(store, f"{place}{path}", b"x", expires=expires)
        await put(store, f"{PREFIX}long", streamed(bytes(9_000_000)), expires=now + 7 * DAY)
        before = keys(engine, bucket)
        await Enactment(bucket).enact(await planned(bucket))

        until(lambda: f"{PREFIX}soon" not in keys(engine, bucket), seconds=120)
        assert before - keys(engine, bucket) == {f"{PREFIX}soon"}


async def test_garage_which_loses_the_tag_gets_no_rule(engines: Engines) -> None:
    engine = engines.running("garage")
    async with bucket_on(engine) as bucket:
        before = rules(engine, bucket)
        with pytest.raises(StoreRefused) as refused:
            await Enactment(bucket).enact(await planned(bucket))

        assert rules(engine, bucket) == before
    assert "does not keep lifecycle rules as they are written" in str(refused.value)
    assert "as they were before" in str(getattr(refused.value, "__notes__", ""))


async def test_where_there_were_no_rules_none_are_left(engines: Engines) -> None:
    engine = engines.running("garage")
    async with bucket_on(engine) as bucket:
        client(engine).delete_bucket_lifecycle(Bucket=bucket.name)
        with pytest.raises(StoreRefused):
            await Enactment(bucket).enact(await planned(bucket))

        assert await Enactment(bucket).current() == NO_RULES
