"""A Bucket's configuration becomes a store. Nothing is asked of the engine before it is needed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import SplitResult

from pannier_gateway.config.model import BucketConfig, S3Config
from pannier_gateway.errors import PannierError
from pannier_gateway.stores.connecting import (
    Entrance,
    endpoint_of,
    parsed_url,
    patience_of,
    pool_to,
)
from pannier_gateway.stores.provision import Provision
from pannier_gateway.stores.s3.bucket import Address, S3Bucket
from pannier_gateway.stores.s3.credentials import Ambient, Anonymous, CredentialSource, FromSecret
from pannier_gateway.stores.s3.findings import Promise
from pannier_gateway.stores.s3.keys import stored_prefix
from pannier_gateway.stores.s3.signing import Signer
from pannier_gateway.stores.s3.store import Rules, S3Store
from pannier_gateway.stores.s3.traits import Traits
from pannier_gateway.stores.secrets import Secrets
from pannier_gateway.tls.trust import Trusts
from pannier_gateway.upstream.pool import PORTS, Endpoint

log = logging.getLogger("pannier.store")

OWN = ".pannier/"


@asynccontextmanager
async def opened(
    config: BucketConfig, secrets: Secrets, trusts: Trusts, provision: Provision
) -> AsyncIterator[S3Store]:
    """The store of a Bucket of type S3, probed in the background."""
    async with connected(config, secrets, trusts, provision) as bucket:
        own, s3 = own_prefix(config), s3_of(config)
        promise = Promise(bucket, own, read_only=config.access == "ReadOnly")
        probing = asyncio.create_task(look_ahead(promise))
        try:
            yield S3Store(bucket, promise, Rules(own, s3.storage_class), provision)
        finally:
            probing.cancel()


@asynccontextmanager
async def connected(
    config: BucketConfig, secrets: Secrets, trusts: Trusts, provision: Provision
) -> AsyncIterator[S3Bucket]:
    """The bucket of S3 that a Bucket names. Nothing is asked of it."""
    s3 = s3_of(config)
    signer, credentials = Signer(s3.region), credentials_of(s3, secrets)
    async with AsyncExitStack() as pools:
        entrances: dict[str, Entrance] = {}
        for host, endpoint in entrances_of(config, s3, secrets).items():
            pool = await pools.enter_async_context(pool_to(endpoint, trusts))
            entrances[str(endpoint)] = Entrance(host, pool)
        among, patience = provision.among(entrances), patience_of(config.resilience)
        yield S3Bucket(address_of(config, s3), among, signer, credentials, patience)


def s3_of(config: BucketConfig) -> S3Config:
    assert config.s3 is not None  # the type is S3: BucketConfig saw to it
    return config.s3


def own_prefix(config: BucketConfig) -> str:
    """What the keys begin with that the gateway keeps for itself."""
    return OWN if config.prefix is None else f"{config.prefix}/{OWN}"


def key_prefix(config: BucketConfig, traits: Traits) -> str:
    """What the keys of its objects begin with."""
    return "" if config.prefix is None else stored_prefix(f"{config.prefix}/", traits.layout)


async def look_ahead(promise: Promise) -> None:
    """Ask for the traits before anybody needs them; who needs them asks again if that fails."""
    try:
        await promise()
    except PannierError as error:
        log.warning("store not probed", extra={"error": str(error)})


def address_of(config: BucketConfig, s3: S3Config) -> Address:
    root = f"/{s3.bucket}" if s3.addressing == "Path" else ""
    return Address(f"{config.namespace}/{config.name}", s3.bucket, root)


def entrances_of(config: BucketConfig, s3: S3Config, secrets: Secrets) -> dict[str, Endpoint]:
    """Where the bucket is on the network, by the host that requests name."""
    urls = config.endpoints or (f"https://s3.{s3.region}.amazonaws.com",)
    return dict(entrance_of(config, s3, parsed_url(url), secrets) for url in urls)


def entrance_of(
    config: BucketConfig, s3: S3Config, url: SplitResult, secrets: Secrets
) -> tuple[str, Endpoint]:
    host = url.hostname or ""
    if s3.addressing == "VirtualHost":
        host = f"{s3.bucket}.{host}"
    port = PORTS[url.scheme] if url.port is None else url.port
    named = f"[{host}]" if ":" in host else host
    shown = named if port == PORTS[url.scheme] else f"{named}:{port}"
    return shown, endpoint_of(config, url, host, secrets)


def credentials_of(s3: S3Config, secrets: Secrets) -> CredentialSource:
    match s3.auth:
        case "Anonymous":
            return Anonymous()
        case "Ambient":
            return Ambient()
    names = (s3.secret, s3.access_key_id_key, s3.secret_access_key_key)
    secret, access_key, secret_key = (name or "" for name in names)
    return FromSecret(secrets, secret, access_key, secret_key)
