"""Objects in a bucket of any store that speaks S3."""

from pannier_gateway.stores.s3.opening import opened
from pannier_gateway.stores.s3.store import S3Store

__all__ = ["S3Store", "opened"]
