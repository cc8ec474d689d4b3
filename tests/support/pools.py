"""Pools of connections that a block closes, and their sockets with them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pannier_gateway.upstream.pool import Pool
from support.jumps import turns


@asynccontextmanager
async def in_use(pool: Pool) -> AsyncIterator[Pool]:
    """`pool`, closed afterwards; servers in threads wait until its sockets are."""
    try:
        yield pool
    finally:
        pool.close()
        await turns()
