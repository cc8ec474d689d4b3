"""The data listener in this process, over any store: where a test has to reach behind the wire."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from math import inf

from pannier_gateway.admission import Admission
from pannier_gateway.api.connection import DataServer
from pannier_gateway.api.objectstore import Door
from pannier_gateway.api.objectstore.replies import failure_body
from pannier_gateway.api.pages import any_host
from pannier_gateway.catalog import Catalog, Served
from pannier_gateway.clock import system_clock
from pannier_gateway.codec import MemoryBudget
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.render import render
from pannier_gateway.drain import Drain
from pannier_gateway.metrics import Metrics
from pannier_gateway.objects import Parts
from pannier_gateway.permit import Permit
from pannier_gateway.stores.base import Store
from support.manifests import Json, bucket, parsed, usecase


@asynccontextmanager
async def serving(
    store: Store,
    *,
    name: str = "attachments",
    metrics: Metrics | None = None,
    drain: Drain | None = None,
    lifetime: float = inf,
    **spec: Json,
) -> AsyncIterator[str]:
    """Serve usecase `name` (`spec` replaces fields of it) from `store`; its URL.

    A connection may be used for `lifetime` seconds.
    """
    manifests = parsed(bucket(), usecase(name, **spec))
    config, _ = render(manifests.buckets, manifests.usecases, 1)
    (one_usecase,), (one_bucket,) = config.usecases.values(), config.buckets.values()
    drain = drain or Drain()
    metrics = metrics or Metrics(drain)
    with ThreadPoolExecutor(2) as pool:
        parts = Parts(system_clock, Workers(pool, MemoryBudget()), metrics)
        (gate,) = Admission(metrics.limits.count).gates([one_usecase]).values()
        served = Served.of(one_usecase, Permit(one_usecase, one_bucket, store), parts, gate)
        door = Door(lambda: Catalog({name: served}), drain, metrics)
        server = DataServer(door, failure_body, metrics.requests)
        connections = server.of(any_host, lambda _: lifetime)
        listening = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
        async with listening:
            yield "http://127.0.0.1:{1}".format(*listening.sockets[0].getsockname())
        await server.shutdown(0)
