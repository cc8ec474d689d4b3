"""How a driver comes to its connections: where a Bucket's store listens, and the TLS for that."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from pannier_gateway.config.model import BucketConfig, ResilienceConfig
from pannier_gateway.errors import StoreRefused, StoreUnavailable
from pannier_gateway.stores.secrets import Secrets
from pannier_gateway.tls.advice import NOT_ACCEPTED, advice
from pannier_gateway.tls.sides import ClientSide
from pannier_gateway.tls.trust import Trust, Trusts
from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.errors import (
    AnswerMalformed,
    ExchangeError,
    NoAnswer,
    TlsFailed,
)
from pannier_gateway.upstream.pool import PORTS, Endpoint, Pool
from pannier_gateway.upstream.request import Request


class Entrance(NamedTuple):
    """Where a store is asked: `host` as requests name it, with a port that is unusual."""

    host: str
    pool: Pool


def parsed_url(url: str) -> SplitResult:
    """Raises StoreUnavailable for a URL of no place."""
    try:
        place = urlsplit(url)
        _ = place.port
    except ValueError as error:
        raise StoreUnavailable(f"{url!r} is no URL: {error}: check endpoints") from error
    return place


def endpoint_of(config: BucketConfig, url: SplitResult, host: str, secrets: Secrets) -> Endpoint:
    """`host` at the port and by the scheme of `url`."""
    port = PORTS[url.scheme] if url.port is None else url.port
    if url.scheme != "https":
        return Endpoint(host, port)
    label = f"{config.namespace}/{config.name} at {host}:{port}"  # each may take other certificates
    trust = Trust(label, ClientSide(config.tls, secrets))
    return Endpoint(host, port, trust, None if config.tls is None else config.tls.server_name)


@asynccontextmanager
async def pool_to(endpoint: Endpoint, trusts: Trusts) -> AsyncIterator[Pool]:
    """Connections to `endpoint`; certificates that change meanwhile are taken up."""
    pool = Pool(endpoint)
    try:
        if isinstance(endpoint.tls, Trust):
            async with trusts.following(endpoint.tls, partial(attempt, endpoint)):
                yield pool
        else:
            yield pool
    finally:
        pool.close()


async def attempt(endpoint: Endpoint, context: ssl.SSLContext) -> None:
    """Have any answer from `endpoint`: in TLS 1.3 a server refuses a certificate no sooner.

    Raises StoreRefused, StoreUnavailable.
    """
    pool = Pool(endpoint._replace(tls=lambda: context))
    try:
        async with pool.exchange(Request("HEAD", "/", [("host", endpoint.host)])):
            return
    except AnswerMalformed:
        return
    except NoAnswer as error:  # the alert is lost where it meets the request on its way
        raise StoreRefused(f"newer certificates: {error}: most likely {NOT_ACCEPTED}") from error
    except TlsFailed as error:
        raise StoreRefused(f"newer certificates: {error}: {advice(error.__cause__)}") from error
    except ExchangeError as error:
        raise StoreUnavailable(f"newer certificates can't be tried: {error}") from error
    finally:
        pool.close()


def patience_of(resilience: ResilienceConfig) -> Patience:
    given = {
        "connect": resilience.connect_timeout,
        "first_byte": resilience.first_byte_timeout,
        "progress": resilience.progress_timeout,
    }
    return Patience()._replace(**{name: each for name, each in given.items() if each is not None})
