"""What is known of the makes of engines, and told of them in the docs, is what the probe finds."""

import re
import secrets
from collections.abc import AsyncIterator

import pytest

from pannier_gateway.errors import BadRequest, NotOffered
from pannier_gateway.stores.base import Attributes
from pannier_gateway.stores.s3.bucket import S3Bucket
from pannier_gateway.stores.s3.probe import Probe, Unblamed
from support.binaries import RECIPES, ROOT
from support.engines import bucket_of, client, make_bucket, pool_of, store_of, unfinished_uploads
from support.makes import MAKES, Engines
from support.pools import in_use
from support.stores import NOON, draft, marks, put, read, whole

PAGE = ROOT / "docs" / "backing-stores.md"


@pytest.fixture(params=[pytest.param(make, marks=marks(make)) for make in MAKES])
def make(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bucket(make: str, engines: Engines) -> AsyncIterator[S3Bucket]:
    """A new one of the engine."""
    engine = engines.running(make)
    name = make_bucket(engine, f"made-{secrets.token_hex(8)}")
    async with in_use(pool_of(engine)) as pool:
        yield bucket_of(engine, name, pool)


async def test_what_is_known_of_an_engine_is_what_the_probe_finds(
    make: str, bucket: S3Bucket, engines: Engines
) -> None:
    probe = Probe(bucket.through(Unblamed), ".pannier/probe/")

    assert await probe.traits() == MAKES[make].traits
    engine = engines.running(make)
    assert "Contents" not in client(engine).list_objects_v2(Bucket=bucket.name)
    assert unfinished_uploads(engine, bucket.name) == set()


async def test_what_an_engine_can_not_keep_is_refused(make: str, bucket: S3Bucket) -> None:
    traits = MAKES[make].traits
    store = store_of(bucket, traits)
    idle, long = Attributes(policy="tti", after=1), "n" * traits.longest_key

    if traits.moves:
        await store.put("k", whole(b"x"), draft(expires=NOON, attributes=idle))
    else:
        with pytest.raises(NotOffered, match="use the expiration ttl or manual"):
            await store.put("k", whole(b"x"), draft(expires=NOON, attributes=idle))
    with pytest.raises(BadRequest, match=f"keys of up to {traits.longest_key} bytes"):
        await put(store, f"{long}n", b"x")
    await put(store, long[: len(long) // 2], b"x")
    assert await read(store, long[: len(long) // 2]) == b"x"


def cells(line: str) -> list[str]:
    return [cell.strip(" `") for cell in line.strip("|\n").split("|")]


def test_the_docs_tell_of_each_engine_what_it_keeps() -> None:
    lines = [cells(line) for line in PAGE.read_text().splitlines() if line.startswith("|")]
    told = {line[0]: line[1:] for line in lines if set(line[1:]) <= {"✓", "✗"}}

    for at, make in enumerate(MAKES.values()):
        kept = {promise: "✓" if kept else "✗" for promise, kept in make.traits.promises.items()}
        assert {promise: row[at] for promise, row in told.items()} == kept


@pytest.mark.parametrize("make", [make for make in MAKES if make in RECIPES])
def test_the_docs_tell_the_versions_that_are_tested(make: str) -> None:
    version = re.search(r"\d{14}|\d+\.\d+\.\d+$", RECIPES[make].version)

    assert version is not None
    assert f"{make} {version[0]}" in PAGE.read_text().lower()
