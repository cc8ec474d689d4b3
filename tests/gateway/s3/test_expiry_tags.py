"""Objects that end carry the tag that lifecycle rules go by, in whatever way they are written."""

import pytest
from msgspec.structs import replace

from pannier_gateway.stores.base import Attributes, Draft
from pannier_gateway.stores.s3 import S3Store
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.lifespans import DAY, TAG
from pannier_gateway.stores.s3.traits import Traits
from support.engines import VERSITYGW, Engine, client, store_of
from support.stores import NOON, ManualClock, put, streamed, whole

pytestmark = pytest.mark.slow

LONG = bytes(range(256)) * 40_000  # two parts
BODIES = {"whole": whole(b"x"), "streamed": streamed(b"x" * 300_000), "in parts": streamed(LONG)}
BY_HAND = {"x-amz-tagging": f"{TAG}=1d"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(bucket: S3Bucket, clock: ManualClock) -> S3Store:
    return store_of(bucket, VERSITYGW, clock)


def tags(engine: Engine, bucket: S3Bucket, key: str = "k!") -> dict[str, str]:
    found = client(engine).get_object_tagging(Bucket=bucket.name, Key=key)["TagSet"]
    return {each["Key"]: each["Value"] for each in found}


@pytest.mark.parametrize("way", BODIES)
async def test_an_object_that_ends_is_tagged_and_the_next_one_that_does_not_is_not(
    strict: Engine, bucket: S3Bucket, store: S3Store, clock: ManualClock, way: str
) -> None:
    await put(store, "k", BODIES[way], expires=clock() + 4 * DAY)
    assert tags(strict, bucket) == {TAG: "5d"}

    await put(store, "k", BODIES[way])
    assert tags(strict, bucket) == {}


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_deadline_that_moves_takes_the_tag_along(
    strict: Engine, bucket: S3Bucket, store: S3Store, clock: ManualClock, size: int
) -> None:
    record = await put(store, "k", whole(bytes(size)), expires=clock() + DAY)
    clock.advance(3600)

    assert await store.touch("k", record.etag, clock() + 20 * DAY)
    assert tags(strict, bucket) == {TAG: "21d"}


async def test_a_size_that_is_told_late_leaves_the_tag(
    strict: Engine, bucket: S3Bucket, store: S3Store, clock: ManualClock
) -> None:
    """It is written behind the body, and with it all that is kept of the object."""
    told = iter([Attributes(), Attributes(original_size=7)])
    ends = clock() + DAY
    await store.put("k", streamed(LONG), lambda: Draft(NOON, ends, next(told)))

    assert (await store.head("k")).attributes.original_size == 7
    assert tags(strict, bucket) == {TAG: "1d"}


@pytest.mark.parametrize(
    ("kept", "whole_tags", "part_tags"),
    [
        ({"tags": True, "tags_in_parts": False}, {TAG: "1d"}, {}),
        ({"tags": False, "tags_in_parts": False}, {}, {}),
    ],
)
async def test_where_tags_are_not_kept_none_are_sent(
    strict: Engine,
    bucket: S3Bucket,
    clock: ManualClock,
    kept: dict[str, bool],
    whole_tags: dict[str, str],
    part_tags: dict[str, str],
) -> None:
    store = store_of(bucket, replace(VERSITYGW, **kept), clock)

    await put(store, "k", b"x", expires=clock() + DAY)
    assert tags(strict, bucket) == whole_tags
    await put(store, "k", streamed(LONG), expires=clock() + DAY)
    assert tags(strict, bucket) == part_tags


async def test_a_copy_has_the_tags_that_it_is_given(strict: Engine, bucket: S3Bucket) -> None:
    await bucket.put("k", b"x", BY_HAND)

    await bucket.copy("k", "kept", {})
    await bucket.copy("k", "anew", {"x-amz-tagging": f"{TAG}=7d"}, retagged=True)

    assert tags(strict, bucket, "kept") == {TAG: "1d"}
    assert tags(strict, bucket, "anew") == {TAG: "7d"}


def test_an_engine_without_tags_or_rules_is_told_of() -> None:
    rules = {"tags": True, "lifecycle": True}

    assert not Traits(lifecycle=True).deletes
    assert not Traits(tags=True).deletes
    assert replace(Traits(), **rules).deletes
    assert any("in parts" in each for each in replace(Traits(), **rules).weaknesses)
