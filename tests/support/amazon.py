"""A bucket of Amazon's own, where the environment names one and has keys for it.

PANNIER_TEST_AWS_BUCKET is its name, PANNIER_TEST_AWS_REGION where it is, if not in us-east-1, and
PANNIER_TEST_AWS_ENDPOINT somebody else's endpoint; keys are found as every tool of AWS finds them.
What is stored goes below a prefix of its own, and is deleted afterwards.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import boto3  # type: ignore[import-untyped]
import pytest

from pannier_gateway.config.model import BucketConfig, ResilienceConfig, S3Config

NAMED = "PANNIER_TEST_AWS_BUCKET"
KEPT = "pannier-tests"
"""What is found of the store stays here, for the next test."""


class Place(NamedTuple):
    """A prefix in the bucket, and the bucket as a gateway and as others see it."""

    prefix: str
    config: BucketConfig
    client: Any

    def unfinished(self) -> set[int]:
        """What uploads in parts left behind."""
        name = self.config.s3.bucket if self.config.s3 else ""
        found = self.client.list_multipart_uploads(Bucket=name, Prefix=self.prefix)
        return {hash(upload["UploadId"]) for upload in found.get("Uploads", [])}


@contextmanager
def place() -> Iterator[Place]:
    """One of this test's own; the test is skipped where the environment names no bucket."""
    name = os.environ.get(NAMED)
    if name is None:
        pytest.skip(f"needs a bucket of Amazon's: set {NAMED}, and keys as for its own tools")
    region = os.environ.get("PANNIER_TEST_AWS_REGION", "us-east-1")
    endpoint = os.environ.get("PANNIER_TEST_AWS_ENDPOINT")
    prefix = f"{KEPT}/{secrets.token_hex(8)}/"
    config = config_of(name, region, endpoint)
    try:
        yield Place(prefix, config, boto3.client("s3", region_name=region, endpoint_url=endpoint))
    finally:
        resource = boto3.resource("s3", region_name=region, endpoint_url=endpoint)
        resource.Bucket(name).objects.filter(Prefix=prefix).delete()


def config_of(name: str, region: str, endpoint: str | None) -> BucketConfig:
    addressing: Literal["VirtualHost", "Path"] = "VirtualHost" if endpoint is None else "Path"
    return BucketConfig(
        namespace="tests",
        name="amazon",
        type="S3",
        access="ReadWrite",
        deletion_policy="Retain",
        endpoints=() if endpoint is None else (endpoint,),
        s3=S3Config(bucket=name, region=region, addressing=addressing, auth="Ambient"),
        resilience=ResilienceConfig(),
    )
