"""A usecase and its bucket as a gateway obeys them: tests replace what they mind, no more."""

from pannier_gateway.config.model import (
    BucketConfig,
    Expiry,
    FilesystemConfig,
    Limits,
    ResilienceConfig,
    UsecaseConfig,
)

BUCKET = BucketConfig(
    namespace="ns",
    name="n",
    type="Filesystem",
    access="ReadWrite",
    deletion_policy="Retain",
    filesystem=FilesystemConfig(),
    resilience=ResilienceConfig(),
)
USECASE = UsecaseConfig(
    name="u",
    namespace="ns",
    bucket="ns/n",
    suspend="None",
    compression="None",
    compression_min_bytes=0,
    expiration=Expiry(policy="Manual"),
    limits=Limits(),
)
