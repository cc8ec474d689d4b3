"""A Bucket's configuration becomes a store. Nothing is asked of the engine before it is needed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from pannier_gateway.config.model import BucketConfig, ResilienceConfig, S3Config
from pannier_gateway.errors import PannierError
from pannier_gateway.stores.s3.bucket import Address, S3Bucket
from pannier_gateway.stores.s3.credentials import Ambient, Anonymous, CredentialSource, FromSecret
from pannier_gateway.stores.s3.probe import Promise
from pannier_gateway.stores.s3.signing import Signer
from pannier_gateway.stores.s3.store import S3Store
from pannier_gateway.stores.s3.trust import Trust
from pannier_gateway.stores.secrets import Secrets
from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.pool import PORTS, Endpoint, Pool

log = logging.getLogger("pannier.store")

OWN = ".pannier/"


@asynccontextmanager
async def opened(config: BucketConfig, secrets: Secrets) -> AsyncIterator[S3Store]:
    """The store of a Bucket of type S3, probed in the background."""
    assert config.s3 is not None  # its type is S3: GatewayConfig saw to it
    address, endpoint = place_of(config, config.s3, secrets)
    pool = Pool(endpoint)
    credentials = credentials_of(config.s3, secrets)
    patience = patience_of(config.resilience)
    bucket = S3Bucket(address, pool, Signer(config.s3.region), credentials, patience)
    own = OWN if config.prefix is None else f"{config.prefix}/{OWN}"
    promise = Promise(bucket, own, read_only=config.access == "ReadOnly")
    probing = asyncio.create_task(look_ahead(promise))
    try:
        yield S3Store(bucket, promise, own, storage_class=config.s3.storage_class)
    finally:
        probing.cancel()
        pool.close()


async def look_ahead(promise: Promise) -> None:
    """Ask for the traits before anybody needs them; who needs them asks again if that fails."""
    try:
        await promise()
    except PannierError as error:
        log.warning("store not probed", extra={"error": str(error)})


def place_of(config: BucketConfig, s3: S3Config, secrets: Secrets) -> tuple[Address, Endpoint]:
    """Where the bucket is, in requests and on the network."""
    regional = f"https://s3.{s3.region}.amazonaws.com"
    url = urlsplit(config.endpoints[0] if config.endpoints else regional)
    host = url.hostname or ""
    if s3.addressing == "VirtualHost":
        host = f"{s3.bucket}.{host}"
    port = PORTS[url.scheme] if url.port is None else url.port
    named = f"[{host}]" if ":" in host else host
    shown = named if port == PORTS[url.scheme] else f"{named}:{port}"
    root = f"/{s3.bucket}" if s3.addressing == "Path" else ""
    trust = Trust(config.tls, secrets) if url.scheme == "https" else None
    server_name = None if config.tls is None else config.tls.server_name
    label = f"{config.namespace}/{config.name}"
    return Address(label, s3.bucket, shown, root), Endpoint(host, port, trust, server_name)


def credentials_of(s3: S3Config, secrets: Secrets) -> CredentialSource:
    match s3.auth:
        case "Anonymous":
            return Anonymous()
        case "Ambient":
            return Ambient()
    names = (s3.secret, s3.access_key_id_key, s3.secret_access_key_key)
    secret, access_key, secret_key = (name or "" for name in names)
    return FromSecret(secrets, secret, access_key, secret_key)


def patience_of(resilience: ResilienceConfig) -> Patience:
    given = {
        "connect": resilience.connect_timeout,
        "first_byte": resilience.first_byte_timeout,
        "progress": resilience.progress_timeout,
    }
    return Patience()._replace(**{name: each for name, each in given.items() if each is not None})
