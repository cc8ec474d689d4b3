"""One engine for the tests that only talk to it; each has a bucket of its own."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from pannier_gateway.stores.s3.bucket import S3Bucket
from support.engines import Engine, bucket_of, make_bucket, pool_of, s3s_fs, versitygw
from support.pools import in_use


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with versitygw(tmp_path_factory.mktemp("versitygw")) as engine:
        yield engine


@pytest.fixture(scope="session")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with s3s_fs(tmp_path_factory.mktemp("s3s-fs")) as engine:
        yield engine


@pytest.fixture
async def bucket(strict: Engine) -> AsyncIterator[S3Bucket]:
    async with bucket_on(strict) as made:
        yield made


@pytest.fixture
async def weak_bucket(weak: Engine) -> AsyncIterator[S3Bucket]:
    async with bucket_on(weak) as made:
        yield made


@asynccontextmanager
async def bucket_on(engine: Engine) -> AsyncIterator[S3Bucket]:
    name = make_bucket(engine, f"test-{secrets.token_hex(8)}")
    async with in_use(pool_of(engine)) as pool:
        yield bucket_of(engine, name, pool)
