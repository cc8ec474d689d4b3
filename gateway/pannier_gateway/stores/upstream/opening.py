"""A Bucket's configuration becomes a store. Nothing is asked of the server before it is needed."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pannier_gateway.config.model import BucketConfig, UpstreamConfig
from pannier_gateway.errors import PannierError
from pannier_gateway.stores.connecting import (
    Entrance,
    endpoint_of,
    parsed_url,
    patience_of,
    pool_to,
)
from pannier_gateway.stores.provision import Provision
from pannier_gateway.stores.secrets import Secrets
from pannier_gateway.stores.upstream.server import Authorization, Server
from pannier_gateway.stores.upstream.store import UpstreamStore
from pannier_gateway.stores.upstream.token import BearerToken, NoToken
from pannier_gateway.tls.trust import Trusts

log = logging.getLogger("pannier.store")


@asynccontextmanager
async def opened(
    config: BucketConfig, secrets: Secrets, trusts: Trusts, provision: Provision
) -> AsyncIterator[UpstreamStore]:
    """The store of a Bucket of type Upstream, found out about in the background."""
    assert config.upstream is not None  # its type is Upstream: GatewayConfig saw to it
    async with AsyncExitStack() as pools:
        entrances: dict[str, Entrance] = {}
        for url in map(parsed_url, config.endpoints):
            endpoint = endpoint_of(config, url, url.hostname or "", secrets)
            pool = await pools.enter_async_context(pool_to(endpoint, trusts))
            entrances[str(endpoint)] = Entrance(url.netloc, pool)
        server = Server(
            f"{config.namespace}/{config.name}",
            provision.among(entrances),
            authorization_of(config.upstream, secrets),
            patience_of(config.resilience),
        )
        store = UpstreamStore(server, "" if config.prefix is None else f"{config.prefix}/")
        asking = asyncio.create_task(look_ahead(store))
        try:
            yield store
        finally:
            asking.cancel()


async def look_ahead(store: UpstreamStore) -> None:
    """Find out before anybody needs it; who needs it asks again if that fails."""
    try:
        await store.find_out()
    except PannierError as error:
        log.warning("store not found out about", extra={"error": str(error)})


def authorization_of(config: UpstreamConfig, secrets: Secrets) -> Authorization:
    if config.token_secret is None:
        return NoToken()
    return BearerToken(secrets, config.token_secret, config.token_key or "token")
