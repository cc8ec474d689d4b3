"""A gateway behind another, in the process of the test: its door over a store, on loopback."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from msgspec.structs import replace

from pannier_gateway.admission import Admission
from pannier_gateway.api.connection import DataServer
from pannier_gateway.api.objectstore import Door
from pannier_gateway.api.objectstore.replies import failure_body
from pannier_gateway.catalog import Catalog, Served
from pannier_gateway.clock import Clock, system_clock
from pannier_gateway.codec import MemoryBudget
from pannier_gateway.codec.workers import Workers
from pannier_gateway.config.model import UsecaseConfig
from pannier_gateway.drain import Drain
from pannier_gateway.metrics import Metrics
from pannier_gateway.objects import Parts
from pannier_gateway.permit import Permit
from pannier_gateway.stores.base import Store
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.upstream.server import Authorization, Server
from pannier_gateway.stores.upstream.store import UpstreamStore
from pannier_gateway.stores.upstream.token import NoToken
from pannier_gateway.upstream.connection import Patience
from pannier_gateway.upstream.pool import Endpoint, Pool
from support import configs
from support.engines import provision
from support.pools import in_use

CALM = Patience(connect=20.0, first_byte=40.0, progress=40.0, free_connection=40.0)
NO_TOKEN = NoToken()
USECASE = replace(configs.USECASE, name="shared", compression="Zstd")


@asynccontextmanager
async def hub(
    store: Store,
    clock: Clock = system_clock,
    usecases: Sequence[UsecaseConfig] = (USECASE,),
    budget: MemoryBudget | None = None,
) -> AsyncIterator[int]:
    """Serves `store`; its port."""
    metrics = Metrics(drain := Drain())
    with ThreadPoolExecutor(1) as pool:
        parts = Parts(clock, Workers(pool, budget or MemoryBudget()), metrics)
        gates = Admission(lambda *_: None).gates(usecases)
        catalog = Catalog(
            {
                each.name: Served.of(
                    each, Permit(each, configs.BUCKET, store), parts, gates[each.name]
                )
                for each in usecases
            }
        )
        door = Door(lambda: catalog, drain, metrics)
        server = DataServer(door, failure_body, metrics.requests)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        try:
            yield listening.sockets[0].getsockname()[1]
        finally:
            listening.close()
            await server.shutdown(1.0)


@asynccontextmanager
async def upstream(
    port: int,
    prefix: str = "",
    tls: ssl.SSLContext | None = None,
    authorization: Authorization = NO_TOKEN,
) -> AsyncIterator[UpstreamStore]:
    """The store that is behind that port."""
    endpoint = Endpoint("127.0.0.1", port, None if tls is None else lambda: tls)
    async with in_use(Pool(endpoint)) as pool:
        among = provision().among({"there": Entrance(f"127.0.0.1:{port}", pool)})
        yield UpstreamStore(Server("ns/n", among, authorization, CALM), prefix)
