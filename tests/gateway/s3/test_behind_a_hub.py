"""A gateway that keeps its objects in S3, behind another one: uploads of every length arrive."""

import random

import pytest

from pannier_gateway.stores.base import Attributes
from pannier_gateway.stores.s3.bucket import S3Bucket
from support.engines import VERSITYGW, store_of
from support.hubs import hub, upstream
from support.stores import draft, read, streamed

MIB = 1 << 20
KEY = "shared/org.1/objects/k"

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("size", [100, 200_000, 8 * MIB, 9 * MIB, 20 * MIB])
async def test_an_upload_of_any_length_reaches_s3_through_a_hub(
    bucket: S3Bucket, size: int
) -> None:
    data = random.Random(size).randbytes(size)
    kept = Attributes(content_type="text/plain", filename="f", custom={"a": "b"})
    async with hub(store_of(bucket, VERSITYGW)) as port, upstream(port) as store:
        record = await store.put(KEY, streamed(data), draft(attributes=kept))

        assert (record.size, record.attributes) == (size, kept)
        assert await read(store, KEY) == data
