"""Connections to one endpoint, kept for the next exchange. It never sends anything twice."""

import asyncio
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

from pannier_gateway.upstream.connection import Answer, Buffers, Connection, Patience
from pannier_gateway.upstream.encryption import Encryption
from pannier_gateway.upstream.errors import (
    ConnectFailed,
    ConnectTimedOut,
    PoolExhausted,
    TlsFailed,
)
from pannier_gateway.upstream.request import Request

PATIENCE = Patience()
TLS_SECONDS = 3.0  # what proving each other's identity may take beyond connecting
PORTS = {"http": 80, "https": 443}

TlsContext = Callable[[], ssl.SSLContext]


class Endpoint(NamedTuple):
    """Where a server listens. `tls` is asked anew for each connection; None: no TLS.

    `server_name` is what the certificate has to be for, where that is not the host.
    """

    host: str
    port: int
    tls: TlsContext | None = None
    server_name: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"


class PoolLimits(NamedTuple):
    """How many connections at most, and how old (seconds) one may grow, idle or at all."""

    connections: int = 256
    idle: float = 4.0  # AWS closes idle connections after about five seconds
    age: float = 300.0  # so that new addresses and certificates come into use


LIMITS = PoolLimits()


class Pool:
    """`async with pool.exchange(request) as answer`: one request, one answer, one connection."""

    def __init__(self, endpoint: Endpoint, limits: PoolLimits = LIMITS) -> None:
        self.endpoint = endpoint
        self._limits = limits
        self._name = str(endpoint)
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []  # the one used last is the last
        self._busy = 0  # those that are being connected too
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._buffers = Buffers()
        self._expiry: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Pool {self._name}: {self._busy} busy, {len(self._idle)} idle>"

    @property
    def busy(self) -> int:
        return self._busy

    @property
    def idle(self) -> int:
        return sum(each.open for each in self._idle)

    def exchange(self, request: Request, patience: Patience = PATIENCE) -> "Exchange":
        """Send `request` once. Entering raises ExchangeError, and what a streamed body raises."""
        return Exchange(self, request, patience)

    def close(self) -> None:
        """Close what is idle; exchanges under way go on, and their connections are not kept."""
        self._limits = self._limits._replace(idle=0.0)
        self._expire()

    async def take(self, patience: Patience) -> Connection:
        """A connection for one exchange, to be given back. Raises NotSent."""
        if self._busy < self._limits.connections:
            self._busy += 1
        else:
            await self._wait_for_place(patience.free_connection)
        try:
            return self._kept() or await self._connect(patience)
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: Connection) -> None:
        self._leave()
        if connection.reusable and self._limits.idle and not self._aged(connection):
            connection.rest()
            self._idle.append(connection)
            self._schedule()
        else:
            if connection.led_nowhere:
                self._forget_idle()
            connection.close()

    def _forget_idle(self) -> None:
        """They lead where one led that has failed; the next one looks the name up anew."""
        while self._idle:
            self._idle.pop().close()

    async def _wait_for_place(self, seconds: float) -> None:
        place = self._loop.create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except TimeoutError as error:
            self._give_up(place)
            raise PoolExhausted(
                f"all {self._limits.connections} connections to {self._name} stayed busy"
            ) from error
        except asyncio.CancelledError:
            self._give_up(place)
            raise

    def _give_up(self, place: "asyncio.Future[None]") -> None:
        """Nobody waits for it any more; it may have come at the very last moment."""
        if place.done() and not place.cancelled():
            self._leave()

    def _leave(self) -> None:
        """A place becomes free: for who has waited longest, if somebody has."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._busy -= 1

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open and not self._stale(connection):
                return connection
            connection.close()
        return None

    async def _connect(self, patience: Patience) -> Connection:
        endpoint = self.endpoint
        seconds = patience.connect + (0.0 if endpoint.tls is None else TLS_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                return await self._open(patience)
        except TimeoutError as error:
            raise ConnectTimedOut(f"{self._name} let nobody in within {seconds:g} s") from error
        except ssl.SSLError as error:
            raise TlsFailed(f"TLS with {self._name} failed: {error}") from error
        except (OSError, ValueError) as error:  # a UnicodeError is for names that can't be one
            raise ConnectFailed(f"no connection to {self._name}: {error}") from error

    async def _open(self, patience: Patience) -> Connection:
        host, port, tls, _ = self.endpoint
        if tls is not None:
            return await self._open_encrypted(tls(), patience)
        transport, connection = await self._loop.create_connection(
            lambda: Connection(self._name, self._buffers), host, port
        )
        bound(transport.get_extra_info("socket"), patience.progress)
        return connection

    async def _open_encrypted(self, context: ssl.SSLContext, patience: Patience) -> Connection:
        host, port, _, server_name = self.endpoint
        connection, name = Connection(self._name, self._buffers), server_name or host
        transport, encryption = await self._loop.create_connection(
            lambda: Encryption(connection, context, name, self._buffers.received), host, port
        )
        bound(transport.get_extra_info("socket"), patience.progress)
        await encryption.agree()
        return connection

    def _aged(self, connection: Connection) -> bool:
        return self._loop.time() - connection.opened >= self._limits.age

    def _stale(self, connection: Connection) -> bool:
        idle = self._loop.time() - connection.idle_since
        return idle >= self._limits.idle or self._aged(connection)

    def _schedule(self) -> None:
        """Look again when the time of the one that is idle longest is over."""
        if self._expiry is None and self._idle:
            at = self._idle[0].idle_since + self._limits.idle
            self._expiry = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        kept = [each for each in self._idle if each.open and not self._stale(each)]
        for connection in set(self._idle).difference(kept):
            connection.close()
        self._idle = kept
        self._schedule()


class Exchange:
    """A request on its way, as a context that ends with it: what is left of the answer is lost."""

    __slots__ = ("_connection", "_patience", "_pool", "_request")

    def __init__(self, pool: Pool, request: Request, patience: Patience) -> None:
        self._pool = pool
        self._request = request
        self._patience = patience

    async def __aenter__(self) -> Answer:
        self._connection = await self._pool.take(self._patience)
        try:
            return await self._connection.ask(self._request, self._patience)
        except BaseException:
            self._connection.close()
            self._pool.give_back(self._connection)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.give_back(self._connection)


def bound(connected: socket.socket, seconds: float) -> None:
    """Have the kernel end a connection that takes no byte for so long: left to itself it tries a
    quarter of an hour, and whoever has handed it all of a request does not hear of that."""
    if sys.platform == "linux":
        milliseconds = int(seconds * 1000)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
